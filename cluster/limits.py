"""Every limit of the product, with its unit and the reason for its value: the one file of limits.

`Limits` and `Timings` are sections of `cluster.toml`; a value left out there is the default given here.
A name ends in its unit: `_bytes`, `_s`, `_max` (a count). What a protocol or format fixes is a constant
below, and no setting.
"""

import msgspec

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

BLOCK_BYTES = 64 * KIB
"""Unit of verification inside a chunk: a 1 KiB range reads and hashes one block, not 8 MiB."""

CHUNK_BYTES = 8 * MIB
"""Largest chunk; an object is cut at multiples of this."""

KEY_BYTES_MAX = 1024
"""Object key in bytes of UTF-8 (S3: 'Naming Amazon S3 objects')."""

LIST_LIMIT_MAX = 1000
"""Entries in one listing page (S3: ListObjectsV2, max-keys)."""

UPLOAD_PARTS_MAX = 10_000
"""Highest number of a part, and so how many there are (S3: Amazon S3 multipart upload limits)."""

UNIX_PATH_BYTES_MAX = 107
"""sun_path on Linux is 108 bytes with its terminating NUL (unix(7))."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sizes and counts. Over a limit means a clear error at once, never a wait without end."""

    # HTTP
    put_bytes_max: int = 5 * GIB  # one request, and so one part of an upload (S3: PutObject, UploadPart)
    request_head_bytes_max: int = 16 * KIB  # request line and headers together
    request_headers_max: int = 100
    user_metadata_bytes_max: int = 2 * KIB  # names and values of x-amz-meta-* (S3: user-defined metadata)
    json_body_bytes_max: int = 64 * KIB  # no native call needs more, but for
    completion_bytes_max: int = 2 * MIB  # one that names 10,000 parts with their ETags, indented
    connections_max: int = 4096  # per API process
    connections_per_address_max: int = 2048  # one client must not take them all
    requests_in_flight_max: int = 512  # per API process; over it 503 SlowDown
    body_idle_s: float = 30.0  # no byte of a body for this long ends the request
    body_rate_bytes_per_s_min: int = KIB  # measured over 60 s
    send_idle_s: float = 60.0  # a client that reads nothing for this long is dropped

    # data path
    inline_bytes_max: int = 16 * KIB  # ceiling for inline_bytes
    inline_bytes: int = 4 * KIB  # objects up to this lie in the metadata
    transfer_memory_bytes_max: int = 256 * MIB  # all chunk buffers of one API process together
    upload_chunks_in_flight_max: int = 2  # per upload: one being filled while one is being stored
    chunk_connections_max: int = 32  # pooled transfer connections per API and daemon

    # RPC
    frame_bytes_max: int = 8 * MIB  # a control frame; chunk bytes do not travel in frames
    rpc_requests_in_flight_max: int = 4096  # per connection
    rpc_send_queue_bytes_max: int = 32 * MIB  # per connection
    rpc_connections_max: int = 1024  # per listener

    # metadata
    command_bytes_max: int = MIB  # one command; a 5 GiB object's is about 90 KiB
    entry_bytes_max: int = 2 * MIB  # one Raft entry: a batch of commands
    append_bytes_max: int = 4 * MIB  # entries in one append message
    proposals_pending_max: int = 8192  # commands at the leader that are not committed yet
    proposals_pending_bytes_max: int = 64 * MIB  # commands at the leader that are not in the log yet
    reads_pending_max: int = 8192
    log_bytes_max: int = 4 * GIB  # over this growing commands get 507
    journal_segment_bytes: int = 64 * MIB
    journal_tail_bytes: int = 64 * MIB  # log kept for members that lag; one that lags more fetches a copy
    journal_cache_bytes: int = 16 * MIB  # newest entries kept in memory; older ones are read from the segments
    scan_rows_max: int = 10_000  # rows that one read call looks at
    copy_bytes_per_s: int = 64 * MIB  # making a copy of the database, and sending it; commits must not suffer
    map_bytes: int = 1024 * GIB  # LMDB address space, not disk
    room_bytes: int = 32 * MIB  # allocated ahead in a member's database: what comes until it is refused fits in it
    free_bytes_min: int = 2 * GIB  # below this (or free_percent_min) growing commands get 507
    free_percent_min: float = 5.0

    # chunk daemon
    transfers_max: int = 64  # chunk bodies in flight per daemon
    disk_reserve_bytes: int = 256 * MIB  # puts are refused below this

    # uploads
    part_bytes_min: int = (
        5 * MIB
    )  # every part of a completed upload but the last (S3: Amazon S3 multipart upload limits)
    upload_laggards_max: int = 4  # per upload: stored chunks whose last copy may still be on its way


class Timings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Durations in seconds."""

    election_timeout_min_s: float = 0.5
    election_timeout_max_s: float = 1.0
    heartbeat_s: float = 0.1
    leader_fallback_s: float = 1.0  # a leader that hears no majority for this long steps down: an election timeout
    request_deadline_s: float = 30.0  # small requests, edge to disk
    metadata_deadline_s: float = 5.0  # one commit or read, retries included
    transfer_idle_s: float = 10.0  # a chunk transfer with no progress for this long has failed
    slow_copy_s: float = 2.0  # a read tries the next holder after this
    connect_s: float = 2.0
    reconnect_s: float = 1.0  # how often a lost node is tried again
    renew_s: float = 600.0  # a writer renews its uncommitted chunks
    trash_s: float = 86400.0  # deleted chunk files stay this long, and up to an hour more; 0: not at all
    horizon_s: float = 3600.0  # chunks that nothing refers to stay this long, to be read to the end or used again
    upload_abandoned_s: float = 604800.0  # an upload that was begun so long ago is aborted: 7 days
    late_holders_s: float = 0.2  # batching of acknowledgements that came after the commit
    shutdown_s: float = 10.0  # a role that has not ended by then is killed
    restart_backoff_min_s: float = 0.2
    restart_backoff_max_s: float = 10.0
    memory_wait_s: float = 5.0  # for transfer memory; then 503 SlowDown
    walk_every_s: float = 21600.0  # a member reads all its rows again this often, in the background: 6 hours
    space_age_s: float = 1.0  # how old an API's view of revision and disks may be
