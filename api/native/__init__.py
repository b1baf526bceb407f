"""The native REST dialect: `/objects/{key}`, `/buckets/{bucket}/objects/{key}`, JSON, bearer keys."""
