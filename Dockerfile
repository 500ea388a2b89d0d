# The server in a container: no root, data in /data, settings from the environment (docs/running.md).
FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements/runtime.txt requirements/build.txt requirements/
# Exactly the pinned versions, checked by hash; wheels only, since there is no compiler here.
RUN python -m venv /opt/pelton \
    && /opt/pelton/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r requirements/runtime.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/pelton/bin/pip install --no-cache-dir --no-index --no-deps /dist/pelton-*.whl

FROM python:3.13-slim
RUN groupadd --gid 10001 pelton \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin pelton \
    && install -d -m 0700 -o 10001 -g 10001 /data \
    && install -d -m 0755 /etc/pelton
COPY --from=build /opt/pelton /opt/pelton
ENV PATH=/opt/pelton/bin:$PATH \
    PELTON_HOST=0.0.0.0 \
    PELTON_DATA=/data \
    PELTON_LOG_FORMAT=json
# By number, so that a cluster can see that it is not root.
USER 10001:10001
# A settings file is /etc/pelton/pelton.toml.
WORKDIR /etc/pelton
VOLUME ["/data"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["pelton", "health"]
ENTRYPOINT ["pelton"]
CMD ["serve"]
