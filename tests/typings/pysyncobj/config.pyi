from typing import Any

class SERIALIZER_STATE:
    NOT_SERIALIZING: int

class SyncObjConf:
    def __init__(self, **kwargs: Any) -> None: ...
