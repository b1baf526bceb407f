"""The S3 dialect: Amazon S3's REST API over the same operations as the native one."""
