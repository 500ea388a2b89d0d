"""WorkersApi of the official client, but for running them."""

from __future__ import annotations

from typing import Any

import pytest
from lusid_workflow import models
from tests.languages.lusid.official import Official, refused, scope

KINDS = {
    "Sleep": models.Sleep(type="Sleep"),
    "Fail": models.Fail(type="Fail"),
    "HealthCheck": models.HealthCheck(type="HealthCheck", url="https://example.com/health?x=1"),
    "LuminesceView": models.LuminesceView(type="LuminesceView", name="a view"),
    "SchedulerJob": models.SchedulerJob(type="SchedulerJob", job_id=models.ResourceId(scope="s", code="c")),
    "HorizonIntegration": models.HorizonIntegration(type="HorizonIntegration", integration_instance_id="i-1"),
    "GroupReconciliation": models.GroupReconciliation(type="GroupReconciliation"),
    "InstantiateRec": models.InstantiateRec(type="InstantiateRec"),
    "LusidEntityDataQualityCheck": models.LusidEntityDataQualityCheck(type="LusidEntityDataQualityCheck"),
    "PortfolioHoldingDataQualityCheck": models.PortfolioHoldingDataQualityCheck(type="PortfolioHoldingDataQualityCheck"),
    "PortfolioTransactionDataQualityCheck": models.PortfolioTransactionDataQualityCheck(
        type="PortfolioTransactionDataQualityCheck"
    ),
    "StructuredResultDataQualityCheck": models.StructuredResultDataQualityCheck(type="StructuredResultDataQualityCheck"),
}


def worker(scope: str, code: str = "w", configuration: Any = KINDS["Sleep"], **more: Any) -> Any:
    return models.CreateWorkerRequest(
        id=models.ResourceId(scope=scope, code=code),
        display_name="A worker",
        worker_configuration=models.WorkerConfiguration(configuration),
        **more,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_comes_back_as_it_went(official: Official, kind: str) -> None:
    here = scope()
    made = official.workers.create_worker(worker(here, configuration=KINDS[kind], description="d"))
    assert isinstance(made, models.Worker)
    got = official.workers.get_worker(here, "w")
    assert got.to_dict() == made.to_dict()
    assert got.worker_configuration.actual_instance.to_dict() == KINDS[kind].to_dict()
    assert (got.display_name, got.description, got.version.as_at_version_number) == ("A worker", "d", 1)
    assert got.links == []
    raw = official.plain.get(f"/workflow/api/workers/{here}/w").json()
    assert raw["workerConfiguration"] == KINDS[kind].to_dict()
    assert {"id", "version", "parameters", "resultFields", "links"} <= set(raw)


def test_what_workers_take_and_give(official: Official) -> None:
    here = scope()
    [parameter] = official.workers.create_worker(worker(here)).parameters
    assert (parameter.name, parameter.type, parameter.required, parameter.default_value) == (
        "SleepTimeSeconds",
        "Decimal",
        False,
        "1",
    )
    [column] = official.workers.create_worker(worker(here, "h", KINDS["HealthCheck"])).result_fields
    assert (column.name, column.type) == ("HttpStatusCode", "String")


def test_updates_in_both_forms_that_the_client_sends(official: Official) -> None:
    here = scope()
    first = official.workers.create_worker(worker(here))
    job = KINDS["SchedulerJob"]
    for number, configuration in enumerate((job, models.WorkerConfiguration(job), job.to_dict()), start=2):
        request = models.UpdateWorkerRequest(display_name="Renamed", worker_configuration=configuration)
        done = official.workers.update_worker(here, "w", request)
        assert done.worker_configuration.actual_instance.to_dict() == job.to_dict()
        assert done.version.as_at_version_number == number
    integration = models.WorkerConfiguration(KINDS["HorizonIntegration"])
    done = official.workers.update_worker(
        here, "w", models.UpdateWorkerRequest(display_name="R", worker_configuration=integration)
    )
    assert done.worker_configuration.actual_instance.integration_instance_id == "i-1"
    assert official.workers.get_worker(here, "w", as_at=first.version.as_at_modified) == first


def test_lists_duplicates_and_deletion(official: Official) -> None:
    here = scope()
    for code in ("b", "a", "c"):
        official.workers.create_worker(worker(here, code, KINDS["Fail" if code == "c" else "Sleep"]))
    assert refused(409, official.workers.create_worker, worker(here, "a"))["name"] == "WorkerAlreadyExists"
    mine = f"id.scope eq '{here}'"
    found = official.workers.list_workers(filter=f"{mine} and workerConfiguration.type eq 'Sleep'", sort_by=["id.code DESC"])
    assert isinstance(found, models.PagedResourceListOfWorker)
    assert [each.id.code for each in found.values] == ["b", "a"]
    gone = official.workers.delete_worker(here, "a")
    assert isinstance(gone, models.DeletedEntityResponse)
    assert refused(404, official.workers.get_worker, here, "a")["name"] == "WorkerNotFound"
    assert [each.id.code for each in official.workers.list_workers(filter=mine, limit=1).values] == ["b"]


def test_a_configuration_that_the_client_drops_is_named(official: Official) -> None:
    """A bare model instead of a WorkerConfiguration goes out as null."""
    here = scope()
    request = models.CreateWorkerRequest.construct(
        id=models.ResourceId(scope=here, code="w"), display_name="A worker", worker_configuration=None
    )
    assert "workerConfiguration" in refused(400, official.workers.create_worker, request)["errors"]
