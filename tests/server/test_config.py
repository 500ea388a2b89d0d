"""Settings: where they come from, what wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelton.server.config import OPTIONS, Config, ConfigError, is_loopback, load, printable, watched

SAMPLES = {
    "keep": "7d,5",
    "text": "here",
    "path": "here",
    "port": "5",
    "number": "5000",
    "flag": "true",
    "list": "aaaaaaaaaaaaaaaa,bbbbbbbbbbbbbbbb",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_and_the_struct_agree() -> None:
    assert [option.name for option in OPTIONS] == list(Config.__struct_fields__)
    for option in OPTIONS:
        default = getattr(Config(), option.name)
        assert default == (Path(option.default) if option.kind == "path" else option.default)


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(elsewhere: Path) -> None:
    (elsewhere / "pelton.toml").write_text("port = 1\nlog-level = 'error'\nmax_body = 2048\n")
    config = load({"port": "3", "host": None}, {"PELTON_PORT": "2", "PELTON_LOG_LEVEL": "debug"})
    assert (config.port, config.log_level, config.max_body) == (3, "debug", 2048)
    assert config.host == "127.0.0.1"


@pytest.mark.parametrize(
    "option",
    [option for option in OPTIONS if option.name not in {"watch", "sqs_endpoint", "tls_cert", "tls_key"}],
    ids=lambda o: o.name,
)
def test_every_option_can_be_set_by_its_variable(option: object) -> None:
    from pelton.server.config import Option

    assert isinstance(option, Option)
    sample = option.choices[-1] if option.kind == "choice" else SAMPLES[option.kind]
    if option.name == "users":
        sample = "ann=aaaaaaaaaaaaaaaa,bob=bbbbbbbbbbbbbbbb"
    if option.name == "connections":
        sample = "one=sqs://eu-central-1,two=sqs:"
    if option.name == "namespace_keys":
        sample = "acme=aaaaaaaaaaaaaaaa"
    environment = {option.variable: sample, "PELTON_ALLOW_ANONYMOUS": "1"}
    assert msgspec.to_builtins(getattr(load({}, environment), option.name), enc_hook=str) != option.default


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1", "did you mean 'port'"),
        ("port = 'x'", "port: must be a whole number"),
        ("port = true", "port: must be a whole number"),
        ("port = 70000", "between 0 and 65535"),
        ("durability = 'fast'", "full, relaxed"),
        ("api_keys = 'one'", "must be a list of strings"),
        ("allow_anonymous = 'maybe'", "true or false"),
        ("host = ''", "non-empty"),
        ("port = ", "not valid TOML"),
        ("[server]\nport = 1", "unknown setting 'server'"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(elsewhere: Path, text: str, says: str) -> None:
    (elsewhere / "pelton.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"pelton\.toml") as caught:
        load({}, {})
    assert says in str(caught.value)


def test_a_file_that_is_named_must_exist(elsewhere: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load({}, {}, elsewhere / "other.toml")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "10.0.0.1"])
def test_listening_beyond_loopback_needs_access_control(host: str) -> None:
    with pytest.raises(ConfigError, match=r"--api-key.*--allow-anonymous"):
        load({"host": host}, {})
    assert load({"host": host, "allow_anonymous": True}, {}).host == host
    assert load({"host": host, "api_keys": ("k" * 16,)}, {}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST."])
def test_loopback_needs_none(host: str) -> None:
    assert load({"host": host}, {}).loopback


@given(st.text(max_size=30))
def test_no_other_text_counts_as_loopback(text: str) -> None:
    if is_loopback(text):
        assert "localhost" in text.lower() or text.strip("[]").startswith(("127.", "::1", "0:0", "0000", "::ffff:127"))


def test_short_keys_are_refused_and_keys_are_never_shown() -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        load({"api_keys": ("short",)}, {})
    shown = dict(printable(load({"api_keys": ("k" * 20,)}, {})))
    assert shown["api_keys"] == "1 set"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("in",), "use the form DIR=/PREFIX"),
        (("in=x",), "use the form DIR=/PREFIX"),
        (("=/x",), "use the form DIR=/PREFIX"),
        (("in=/a/../b",), "'/a/../b' is not a valid prefix"),
        (("in=//a",), "is not a valid prefix"),
        (("in=/" + "a" * 200,), "at most 200"),
        (("in=/a\n",), "is not a valid prefix"),
        (("in=/a", "other=/a/"), "'in' is already watched as /a"),
        (("missing=/a",), "'missing' does not exist; create the directory first"),
        (("file=/a",), "'file' is not a directory"),
        ((".=/a",), "the data directory"),
    ],
)
def test_a_watched_directory_that_cannot_be_is_refused(elsewhere: Path, given: tuple[str, ...], says: str) -> None:
    for name in ("in", "other"):
        (elsewhere / name).mkdir()
    (elsewhere / "file").touch()
    with pytest.raises(ConfigError, match="--watch") as caught:
        load({"watch": given}, {})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("/archive/*",), "no / at its start"),
        (("a/../b",), "no empty, . or .. part"),
        (("!",), "1 to 200 printable characters"),
        (("a" * 201,), "1 to 200 printable characters"),
        (("*.lock",) * 101, "at most 100"),
    ],
)
def test_a_pattern_of_names_that_cannot_be_is_refused(given: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match="--watch-ignore") as caught:
        load({"watch_ignore": given}, {})
    assert says in str(caught.value)


def test_watched_directories_by_prefix(elsewhere: Path) -> None:
    for name in ("in", "a=b"):
        (elsewhere / name).mkdir()
    (elsewhere / "pelton.toml").write_text('watch = ["in=/x/y/", "a=b=/"]\nwatch-settle = 20\n')
    config = load({}, {})
    assert watched(config) == {"/x/y": "in", "/": "a=b"}
    assert config.watch_settle == 20
    assert watched(load({}, {"PELTON_WATCH": "in=/q, a=b=/r"})) == {"/q": "in", "/r": "a=b"}


def test_an_endpoint_must_be_a_url() -> None:
    with pytest.raises(ConfigError, match="--sqs-endpoint"):
        load({"sqs_endpoint": "localhost:4566"}, {})


def test_an_empty_variable_is_as_none_at_all() -> None:
    assert load({}, {"PELTON_PORT": "", "PELTON_API_KEYS": ""}) == Config()


def test_users_stand_in_a_table_or_a_list(elsewhere: Path) -> None:
    (elsewhere / "pelton.toml").write_text("[users]\nann = 'token-of-ann-000001'\nbob = 'token=of=bob=0002'\n")
    assert load({}, {}).users == ("ann=token-of-ann-000001", "bob=token=of=bob=0002")
    assert load({"host": "0.0.0.0"}, {}).host == "0.0.0.0"  # users are access control
    assert dict(printable(load({}, {})))["users"] == "2 set"


def test_namespaces_stand_in_a_table_or_a_list(elsewhere: Path) -> None:
    (elsewhere / "pelton.toml").write_text("[namespace_keys]\nacme = 'key-of-acme-0000001'\n")
    assert load({}, {}).namespace_keys == ("acme=key-of-acme-0000001",)
    assert load({"host": "0.0.0.0"}, {}).host == "0.0.0.0"  # such keys are access control
    assert dict(printable(load({}, {})))["namespace_keys"] == "1 set"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"users": ("ann",)}, "use the form USER=TOKEN"),
        ({"users": ("ann=short",)}, "at least 16"),
        ({"users": ("=aaaaaaaaaaaaaaaa",)}, "use the form USER=TOKEN"),
        ({"users": ("a b=aaaaaaaaaaaaaaaa",)}, "without spaces"),
        ({"users": ("ann=aaaaaaaaaaaaaaaa", "bob=aaaaaaaaaaaaaaaa")}, "has the same token"),
        ({"service_users": ("a=b",)}, "--service-user"),
        ({"namespace_keys": ("acme",)}, "use the form NAMESPACE=KEY"),
        ({"namespace_keys": ("a b=aaaaaaaaaaaaaaaa",)}, "letters, digits"),
        ({"namespace_keys": ("acme=short",)}, "at least 16"),
        ({"namespace_keys": ("acme=aaaaaaaaaaaaaaaa", "zeta=aaaaaaaaaaaaaaaa")}, "has the same key"),
    ],
)
def test_users_that_cannot_be_are_refused(given: dict[str, tuple[str, ...]], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load(given, {})
    assert "aaaaaaaa" not in str(caught.value)
