"""The check at the end of tests with a server finds what it is there for, and names it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent, WorkflowTaskFailedEventAttributes
from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from devnet.temporal import TemporalServer
from tests.support.replays import (
    BUSY,
    Replays,
    ReplayError,
    all_histories,
    cause_of,
    replay_database,
    replayed_server,
)
from vaultmesh.domain.names import NAMESPACE_WORKFLOW
