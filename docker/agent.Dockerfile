# The agent on a gateway: not root, read-only file system, no port. Build from the repository's root:
#   docker build -f docker/agent.Dockerfile -t ullage-agent .
FROM python:3.12-slim AS build
COPY docker/agent.lock /build/
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes --no-deps -r /build/agent.lock

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/ullage --create-home ullage
COPY --from=build /venv /venv
COPY protocols/ullage_protocols /app/ullage_protocols
COPY models/ullage_models /app/ullage_models
COPY agent/ullage_agent /app/ullage_agent
RUN python -OO -m compileall -q /app && { python -OO -m compileall -q /venv/lib || true; }
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/ullage
VOLUME /var/lib/ullage
ENTRYPOINT ["python", "-OO", "-m", "ullage_agent"]
CMD ["run", "--config", "/etc/ullage/agent.toml"]
