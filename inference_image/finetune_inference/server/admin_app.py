"""The application beside the public one: it loads and unloads adapters, as vLLM's endpoints of these names do."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from finetune_inference.server.adapters.refusals import AdapterRefused
from finetune_inference.server.http import EXCEPTION_HANDLERS, body_of
from finetune_inference.server.inference_app import common_routes
from finetune_inference.server.protocol.errors import RequestError, invalid
from finetune_inference.server.service import Service

Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$")]


R = TypeVar("R", bound=BaseModel)


class LoadRequest(BaseModel):
    model_config = ConfigDict(extra="ignore")

    lora_name: Name
    lora_path: str = Field(min_length=1, max_length=4096)
    load_inplace: bool = False


class UnloadRequest(BaseModel):
    model_config = ConfigDict(extra="ignore")

    lora_name: Name


def application(service: Service) -> Starlette:
    async def load(request: Request) -> Response:
        asked = _parse(LoadRequest, await body_of(request))
        if asked.load_inplace:
            raise invalid("load_inplace: names never change their meaning here; load the new version under a new name", "load_inplace")
        try:
            await service.registry.load(asked.lora_name, asked.lora_path)
        except AdapterRefused as refusal:
            raise _refused(refusal) from refusal
        return PlainTextResponse(f"Success: LoRA adapter '{asked.lora_name}' added successfully.")

    async def unload(request: Request) -> Response:
        asked = _parse(UnloadRequest, await body_of(request))
        try:
            await service.registry.unload(asked.lora_name)
        except AdapterRefused as refusal:
            raise _refused(refusal) from refusal
        return PlainTextResponse(f"Success: LoRA adapter '{asked.lora_name}' removed successfully.")

    return Starlette(
        routes=[
            Route("/v1/load_lora_adapter", load, methods=["POST"]),
            Route("/v1/unload_lora_adapter", unload, methods=["POST"]),
            *common_routes(service),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
    )


def _parse(kind: type[R], body: bytes) -> R:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "body"
        raise invalid(f"{field}: {first['msg']}", field) from None


def _refused(refusal: AdapterRefused) -> RequestError:
    return RequestError(refusal.status, "NotFoundError" if refusal.status == 404 else "BadRequestError", refusal.message)
