from collections.abc import Mapping
from http.client import HTTPMessage
from typing import Any

class AWSRequest:
    def __init__(
        self,
        method: str | None = ...,
        url: str | None = ...,
        headers: Mapping[str, str] | None = ...,
        data: bytes | None = ...,
        params: Mapping[str, str] | None = ...,
        auth_path: str | None = ...,
    ) -> None: ...

    method: str
    url: str
    headers: HTTPMessage
    context: dict[str, Any]
