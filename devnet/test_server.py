"""Fetches the time-skipping Temporal test server: days pass in milliseconds on it."""

from pathlib import Path

from devnet.supply import Supply, run_fetching

TEST_SERVER_VERSION = "1.32.0"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>test-server</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>io.temporal</groupId><artifactId>temporal-test-server</artifactId>
    <version>{TEST_SERVER_VERSION}</version>
  </dependency></dependencies>
</project>
"""
_START = """#!/bin/sh
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
exec java -Xmx256m -XX:+UseSerialGC -cp "$here/jars/*" io.temporal.testserver.TestServer "$@"
"""


def _fetch(folder: Path) -> None:
    (folder / "pom.xml").write_text(_POM, encoding="ascii")
    run_fetching(["mvn", "-q", "-B", _COPY, "-DoutputDirectory=jars"], folder)
    script = folder / "test-server"
    script.write_text(_START, encoding="ascii")
    script.chmod(0o755)


TEST_SERVER = Supply(
    name="test-server",
    version=TEST_SERVER_VERSION,
    variable="TEMPORAL_TEST_SERVER",
    product="test-server",
    fetch=_fetch,
    takes="30 seconds",
    needs="mvn",
    on_path=False,
)


def test_server() -> Path:
    """Return the start script of the test server; it takes a port and needs Java."""
    return TEST_SERVER.obtain()
