# The worker, and the operator's commands, in one image. Build: docker build -t vaultmesh-scheduler:local .
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    VMSH_ROOT=/data

WORKDIR /app

# Every package by version and hash; the lock holds run-time packages only.
COPY requirements-runtime.lock ./
RUN python -m pip install --no-cache-dir --no-deps --disable-pip-version-check \
        --require-hashes -r requirements-runtime.lock

COPY vaultmesh/ vaultmesh/
COPY workflows/ workflows/
COPY activities/ activities/
COPY contracts/ contracts/
COPY devnet/ devnet/
COPY vmsh/ vmsh/
COPY worker.py starter.py ./

# Compiled once here: the root file system is read-only when it runs.
RUN python -m compileall -q vaultmesh workflows activities contracts devnet worker.py starter.py \
    && groupadd --gid 10001 vaultmesh \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin vaultmesh \
    && install -d -o 10001 -g 10001 /data

USER 10001:10001
VOLUME ["/data"]
EXPOSE 9091
EXPOSE 7007

HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('METRICS_PORT', '9091') + '/livez', timeout=5)"]

ENTRYPOINT ["python", "worker.py"]
