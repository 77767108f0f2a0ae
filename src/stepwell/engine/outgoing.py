"""What is sent to an app: the call that a job stands for, joined from the state of its run (protocol 4.2)."""

from __future__ import annotations

from stepwell.engine.core.endpoint import called_request, is_endpoint
from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import Function, Job, JobKind
from stepwell.engine.core.state import RunState
from stepwell.engine.core.trace import trace_fields
from stepwell.engine.transport import EndpointRequest, OutgoingCall
from stepwell.limits import USE_API_BYTES
from stepwell.protocol.call import call_body


def outgoing_call(state: RunState, job: Job, function: Function) -> OutgoingCall:
    """Join the call that a job stands for from the state of its run."""
    if is_endpoint(function):
        return _endpoint_call(state, job, function)
    run = state.run
    is_large = state.size_bytes > USE_API_BYTES
    request_id = f"{run.id}.{attempt_id(job)}"
    body = call_body(
        run_id=run.id,
        function_id=run.function_id,
        job_id=f"{run.id}.{job.id}",
        request_id=request_id,
        generation=job.attempt + 1,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        environment=run.environment,
        version=run.request_version,
        # A call for one step runs no other: for it, the plan of a group alone counts (protocol 7.3).
        disable_immediate_execution=state.must_plan if job.kind is JobKind.DISCOVER else run.is_plan_forced,
        stack=state.stack,
        stack_current=job.stack_current,
        event=state.event,
        events=() if is_large and state.event_bytes > USE_API_BYTES else state.events,
        memo=state.steps_sorted,
        use_api=is_large,
    )
    return OutgoingCall(
        url=function.config.url,
        step_id=job.step_id,
        run_id=run.id,
        request_id=request_id,
        request_version=run.request_version,
        body=body,
        trace=trace_fields(run.id, attempt_id(job), run.function_id, function.app_id),
    )


def _endpoint_call(state: RunState, job: Job, function: Function) -> OutgoingCall:
    """Repeat the request that a run of a durable endpoint began with (protocol 7.4)."""
    run = state.run
    request = called_request(state.event, function)
    return OutgoingCall(
        url=request.url,
        step_id=job.step_id,
        run_id=run.id,
        request_id=f"{run.id}.{attempt_id(job)}",
        request_version=run.request_version,
        body=request.content,
        trace=trace_fields(run.id, attempt_id(job), run.function_id, function.app_id),
        endpoint=EndpointRequest(
            method=request.method,
            content_type=request.content_type,
            is_plan_forced=state.must_plan if job.kind is JobKind.DISCOVER else run.is_plan_forced,
        ),
    )
