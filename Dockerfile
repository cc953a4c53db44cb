# Two images of one source, with the names that the manifests have: `make image`, which builds the targets worker and maintenance.

# By digest, so that the same source has the same base until somebody changes this line, for any processor that the tag has.
# The newest: docker buildx imagetools inspect docker.io/library/python:3.11-slim-bookworm
ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS base

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    VMSH_ROOT=/data

WORKDIR /app

RUN groupadd --gid 10001 vaultmesh \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin vaultmesh

FROM base AS maintenance

# pg_dump refuses a server that is newer than itself: the newest client, from PostgreSQL's own packages for Debian.
# A base of your own that holds a client keeps it.
RUN command -v pg_dump \
    || { apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates postgresql-common \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*; } \
    && pg_dump --version && pg_restore --version

# Every package by version and hash: no ledger's, and not Temporal's.
COPY requirements-maintenance.lock ./
RUN python -m pip install --no-cache-dir --no-deps --disable-pip-version-check \
        --require-hashes -r requirements-maintenance.lock

COPY vaultmesh/ vaultmesh/
COPY vmsh/ vmsh/
COPY starter.py ./

# Compiled once here: the root file system is read-only when it runs. /data is root's until a volume is mounted there:
# no task may archive rows, and then delete them, into a container that goes away.
RUN python -m compileall -q vaultmesh starter.py \
    && install -d /data

USER 10001:10001

# Last, since they differ in each build.
ARG BASE
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="vaultmesh-maintenance" \
      org.opencontainers.image.description="Looks after a PostgreSQL database: runs what is needed, and ends." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}"

# Runs what is needed and ends: 0 if all went well, else 1.
ENTRYPOINT ["python", "starter.py"]
CMD ["maintenance", "run", "--once"]

# The last stage is what a build without a target makes.
FROM base AS worker

# Every package by version and hash; the lock holds run-time packages only.
COPY requirements-runtime.lock ./
RUN python -m pip install --no-cache-dir --no-deps --disable-pip-version-check \
        --require-hashes -r requirements-runtime.lock

COPY vaultmesh/ vaultmesh/
COPY workflows/ workflows/
COPY activities/ activities/
COPY contracts/__init__.py contracts/artifact.py contracts/RemembrancerAnchor.json contracts/RemembrancerAnchor.sol contracts/
COPY vmsh/ vmsh/
COPY worker.py starter.py ./

# Compiled once here: the root file system is read-only when it runs.
RUN python -m compileall -q vaultmesh workflows activities contracts worker.py starter.py \
    && install -d -o 10001 -g 10001 /data

USER 10001:10001
VOLUME ["/data"]
EXPOSE 9091
EXPOSE 7007

HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('METRICS_PORT', '9091') + '/livez', timeout=5)"]

# Last, since they differ in each build.
ARG BASE
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="vaultmesh-scheduler" \
      org.opencontainers.image.description="Anchors sealed batches on outside ledgers, and runs HTTP jobs, with Temporal workflows." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}"

ENTRYPOINT ["python", "worker.py"]
