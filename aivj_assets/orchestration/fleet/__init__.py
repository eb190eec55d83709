"""Many machines: the same graph on Celery, Redis and PostgreSQL (the extra `cluster`, `AIVJ_PROFILE=cluster`)."""
