"""The engines of task queues, each with its own worker and broker, behind one interface for the tests."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import signal
import time
import warnings
from pathlib import Path
from subprocess import PIPE

from support.forked import Nursery

START = """
import os
from gateway360_async import Gateway360Client
from gateway360_async.stores import RedisStore

BROKER = os.environ["BROKER"]


def make_client():
    return Gateway360Client(store=RedisStore(os.environ["STORE"], timeout=1), concurrency=50)
"""


CLIENT = "gateway360_async", "gateway360_async.stores._redis", "gateway360_async.integrations.worker"


class Engine:
    """An application with a task queue: its module is `shop.py` in a folder, and its workers are processes.

    Args:
        application: What `application` made.
        folder: A folder of the test's own, for the log.
        gateway: The sandbox.
        store: The URL of the Redis that holds the client's store.
        broker: The URL of the queue, in a database that is new.
    """

    SHOP: str
    IMPORTS: tuple[str, ...]
    """What a worker imports before it has read its settings."""
    WORKER: tuple[str, ...]
    POSTGRES = False
    """Whether the broker is a PostgreSQL, or else a Redis."""
    WORKERS = 1
    """Processes that work at a time."""
    LOST = 0
    """Tasks that a worker which is killed can lose, by its engine's fault."""
    REFUSED = 1
    """The exit status of a worker without a key."""

    def __init__(self, application, folder, gateway, store, broker):
        self.application, self.nursery = application, application.nursery
        self.folder, self.gateway, self.store, self.broker = folder, gateway, store, broker
        self._workers = []
        self.prepare()

    @classmethod
    @contextlib.contextmanager
    def application(cls, folder):
        """Write the application into a folder, and import what its processes begin with."""
        (folder / "shop.py").write_text(START + cls.SHOP)
        cls.write(folder)
        environment = {**os.environ, "BROKER": "", "DJANGO_SETTINGS_MODULE": "shop"}
        with Nursery(*cls.IMPORTS, cwd=folder, env=environment) as nursery:
            yield Application(cls, folder, nursery)

    @classmethod
    def write(cls, folder):
        """Write more of the application's files."""

    @classmethod
    def migrate(cls, application, dsn):
        """Make the queue's tables, if it has any."""

    def prepare(self):
        """Connect to the queue, if it wants that."""

    def settings(self):
        """More of the environment of its processes."""
        return {}

    def enqueue(self, tasks):
        """Put tasks into the queue, in order, and give what `outcomes` wants."""
        raise NotImplementedError

    def outcomes(self, sent):
        """Wait until all tasks have ended, and give their outcomes; `None` for one that failed."""
        raise NotImplementedError

    def redeliver(self):
        """Let the time pass after which the engine delivers the tasks of killed workers again, or do as its guide says."""

    def run(self, command, **options):
        settings = {
            "BROKER": self.broker,
            "STORE": self.store,
            "GATEWAY360_BASE_URL": self.gateway.base_url,
            "GATEWAY360_API_KEY": self.gateway.api_key,
            "GATEWAY360_LOG": "",
            "DJANGO_SETTINGS_MODULE": "shop",
            **self.settings(),
        }
        environment = {**os.environ, **settings, **options.pop("environment", {})}
        return self.nursery.start(command, cwd=self.application.folder, env=environment, **options)

    def start(self, **environment):
        """Start the workers."""
        with (self.folder / "log").open("ab") as log:
            for _ in range(self.WORKERS):
                self._workers.append(
                    self.run(["-m", *self.WORKER], environment=environment, stdout=log, stderr=log)
                )

    def kill(self):
        """End the workers and their children as a crash does. `wait` waits for them."""
        for worker in self._workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)

    def stop(self):
        """Ask the workers to end."""
        for worker in self._workers:
            worker.send_signal(signal.SIGTERM)

    def wait(self):
        """Wait until the workers have ended, and give their exit statuses."""
        statuses = {worker.wait() for worker in self._workers}
        self._workers.clear()
        return statuses

    def is_running(self):
        time.sleep(0.05)
        return any(worker.poll() is None for worker in self._workers)

    def log(self):
        return (self.folder / "log").read_text()

    def close(self):
        self.kill()
        self.wait()


@dataclasses.dataclass
class Application:
    kind: type[Engine]
    folder: Path
    nursery: Nursery
    template: str | None = None
    """The database that has the queue's tables."""

    def engine(self, folder, gateway, store, broker):
        return self.kind(self, folder, gateway, store, broker)

    def database(self, server):
        """Make a database with the queue's tables: they are made once, and copied."""
        if self.template is None:
            dsn = server.database()
            self.kind.migrate(self, dsn)
            self.template = dsn.partition("@/")[2].partition("?")[0]
        return server.database(self.template)


class CeleryEngine(Engine):
    # Overdue at once: a worker takes what is overdue when it starts, and then every 100 seconds.
    SHOP = """
from celery import Celery
from gateway360_async.integrations.celery import pin_task

app = Celery("shop", broker=BROKER, backend=BROKER)
app.conf.broker_transport_options = {"visibility_timeout": 0.001}
send_pin = pin_task(app, make_client)
"""
    IMPORTS = (
        "celery.bin.celery",
        "celery.apps.worker",
        "celery.worker.worker",
        "celery.concurrency.thread",
        "celery.backends.redis",
        "kombu.transport.redis",
        *CLIENT,
    )
    LOST = 1  # kombu takes a task from Redis, and only then notes that it has it
    WORKER = "celery -A shop worker --loglevel INFO --pool threads --concurrency 20".split()

    def prepare(self):
        from celery import Celery

        from gateway360_async.integrations.celery import pin_task

        self.broker = self.broker.replace("unix://", "redis+socket://")
        self.app = Celery("shop", broker=self.broker, backend=self.broker, set_as_current=False)
        self.send_pin = pin_task(self.app, lambda: None)

    def enqueue(self, tasks):
        return [self.send_pin.delay(task) for task in tasks]

    def outcomes(self, sent):
        while not all(result.ready() for result in sent):
            if not self._is_in_queue():
                self.stop()  # a worker that stops ends what it has, or gives it back
                self.wait()
                if not self._is_in_queue():
                    break
                self.start()
            time.sleep(0.05)
        return [result.result for result in sent]

    def _is_in_queue(self):
        with self.app.connection_for_read() as connection:
            redis = connection.default_channel.client
            return redis.llen("celery") + redis.zcard("unacked_index") > 0

    def close(self):
        super().close()
        self.app.close()


class TaskiqEngine(Engine):
    SHOP = """
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker
from gateway360_async.integrations.taskiq import pin_task

broker = RedisStreamBroker(BROKER, idle_timeout=2000).with_result_backend(RedisAsyncResultBackend(BROKER))
send_pin = pin_task(broker, make_client)
"""
    IMPORTS = "taskiq.cli.worker.run", "taskiq_redis", *CLIENT
    WORKER = "taskiq worker shop:broker --workers 1 --max-async-tasks 20".split()
    REFUSED = None  # its manager starts the worker's process again and again

    def prepare(self):
        self._nudge = None

    @contextlib.asynccontextmanager
    async def _task(self):
        from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

        from gateway360_async.integrations.taskiq import pin_task

        broker = RedisStreamBroker(self.broker).with_result_backend(RedisAsyncResultBackend(self.broker))
        await broker.startup()
        yield pin_task(broker, lambda: None)
        await broker.shutdown()

    def enqueue(self, tasks):
        async def enqueue():
            async with self._task() as send_pin:
                return [(await send_pin.kiq(task)).task_id for task in tasks]

        self._nudge = tasks[0]
        return asyncio.run(enqueue())

    def outcomes(self, sent):
        from taskiq.exceptions import ResultGetError

        async def outcomes():
            found = {}
            async with self._task() as send_pin:
                backend = send_pin.broker.result_backend
                while len(found) < len(sent):
                    for task_id in {*sent} - {*found}:
                        with contextlib.suppress(ResultGetError):
                            found[task_id] = (await backend.get_result(task_id)).return_value
                    if len(found) < len(sent):
                        await send_pin.kiq(
                            self._nudge
                        )  # a worker looks for overdue tasks when another one comes
                        await asyncio.sleep(0.2)
            return [found[task_id] for task_id in sent]

        return asyncio.run(outcomes())


class ArqEngine(Engine):
    SHOP = """
from arq.connections import RedisSettings
from gateway360_async.integrations.arq import pin_task


@pin_task(make_client)
class WorkerSettings:
    redis_settings = RedisSettings(unix_socket_path=BROKER.removeprefix("unix://"))
    max_jobs = 20
    poll_delay = 0.05
"""
    IMPORTS = "arq.cli", *CLIENT
    WORKER = "arq shop.WorkerSettings".split()

    @contextlib.asynccontextmanager
    async def _queue(self):
        from arq.connections import RedisSettings, create_pool

        with warnings.catch_warnings():
            # arq asks for what its client of Redis does by itself, and closes connections by a name that was given up.
            warnings.filterwarnings("ignore", ".*deprecated.*", DeprecationWarning)
            queue = await create_pool(RedisSettings(unix_socket_path=self.broker.removeprefix("unix://")))
            yield queue
            await queue.aclose(close_connection_pool=True)

    def enqueue(self, tasks):
        async def enqueue():
            async with self._queue() as queue:
                return [(await queue.enqueue_job("send_pin", task=task)).job_id for task in tasks]

        return asyncio.run(enqueue())

    def outcomes(self, sent):
        from arq.jobs import Job

        async def outcomes():
            async with self._queue() as queue:
                return [await Job(job_id, queue).result(timeout=100, poll_delay=0.05) for job_id in sent]

        return asyncio.run(outcomes())

    def redeliver(self):
        from redis import Redis

        with Redis(unix_socket_path=self.broker.removeprefix("unix://")) as redis:
            for key in redis.scan_iter("arq:in-progress:*"):  # as after 70 seconds
                redis.delete(key)


class ProcrastinateEngine(Engine):
    SHOP = """
from procrastinate import App, PsycopgConnector
from gateway360_async.integrations.procrastinate import pin_task

app = App(connector=PsycopgConnector(conninfo=BROKER))
send_pin = pin_task(app, make_client)
"""
    IMPORTS = "procrastinate.cli", *CLIENT
    WORKER = "procrastinate --app shop.app worker --concurrency 20".split()
    POSTGRES = True
    REFUSED = 0

    def _app(self):
        return self._app_at(self.broker)

    @staticmethod
    @contextlib.asynccontextmanager
    async def _app_at(dsn):
        from procrastinate import App, PsycopgConnector

        app = App(connector=PsycopgConnector(conninfo=dsn, min_size=1, max_size=2))
        async with app.open_async():
            yield app

    @classmethod
    def migrate(cls, application, dsn):
        async def migrate():
            async with cls._app_at(dsn) as app:
                await app.schema_manager.apply_schema_async()

        asyncio.run(migrate())

    def enqueue(self, tasks):
        from gateway360_async.integrations.procrastinate import pin_task

        async def enqueue():
            async with self._app() as app:
                send_pin = pin_task(app, lambda: None)
                return await send_pin.batch_defer_async(*[{"task": task} for task in tasks])

        return asyncio.run(enqueue())

    def outcomes(self, sent):
        import psycopg

        with psycopg.connect(self.broker, autocommit=True) as connection:
            query = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
            while connection.execute(query).fetchone() != (0,):
                time.sleep(0.05)
        # It keeps no results, and logs the first 250 characters of each.
        told = r"Job gateway360\.send_pin\[(\d+)\]\(…\) ended with status: Success, .*'disposition': '(\w+)'"
        found = {int(job): {"disposition": disposition} for job, disposition in re.findall(told, self.log())}
        return [found.get(job) for job in sent]

    def redeliver(self):
        async def redeliver():
            async with self._app() as app:
                for job in await app.job_manager.get_stalled_jobs(
                    seconds_since_heartbeat=0
                ):  # 30 s by default
                    await app.job_manager.retry_job(job)

        asyncio.run(redeliver())


class DjangoEngine(Engine):
    # Its processes begin where the settings are read: the database is what the service file names for each of them.
    SHOP = """
SECRET_KEY = "shop"
INSTALLED_APPS = ["django_tasks_db", "orders"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {"service": "queue"}}}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
USE_TZ = True
"""
    TASKS = """
from gateway360_async.integrations.django_tasks import pin_task
from shop import make_client

send_pin = pin_task(__name__, make_client)
"""
    SETUP = """
import django
django.setup()
import django_tasks_db.management.commands.db_worker
import django.core.management.commands.migrate
import django.db.backends.postgresql.base
"""
    ENQUEUE = """
import json, sys
from orders.models import send_pin
json.dump([str(send_pin.enqueue(task).id) for task in json.load(sys.stdin)], sys.stdout)
"""
    IMPORTS = (*CLIENT, "set_up")
    WORKER = "django db_worker --interval 0.05 --no-startup-delay".split()
    POSTGRES = True
    WORKERS = 2  # each does one task at a time

    @classmethod
    def write(cls, folder):
        orders = folder / "orders"
        orders.mkdir()
        (orders / "__init__.py").touch()
        (orders / "models.py").write_text(cls.TASKS)  # Django imports it with the application
        (folder / "set_up.py").write_text(cls.SETUP)

    @classmethod
    def migrate(cls, application, dsn):
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "shop",
            **cls._service(application.folder, dsn),
        }
        command = "-m", "django", "migrate", "-v", "0"
        assert application.nursery.start(command, cwd=application.folder, env=environment).wait() == 0

    @staticmethod
    def _service(folder, dsn):
        from psycopg.conninfo import conninfo_to_dict

        path = folder / "services"
        settings = [f"{name}={value}\n" for name, value in conninfo_to_dict(dsn).items()]
        path.write_text("".join(["[queue]\n", *settings]))
        return {"PGSERVICEFILE": str(path)}

    def settings(self):
        return self._service(self.folder, self.broker)

    def enqueue(self, tasks):
        with self.run(["-c", self.ENQUEUE], stdin=PIPE, stdout=PIPE) as script:
            script.stdin.write(json.dumps(tasks))
            script.stdin.close()
            return json.loads(script.stdout.read())

    def outcomes(self, sent):
        with self._connection() as connection:
            query = (
                "SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status IN ('READY', 'RUNNING')"
            )
            while connection.execute(query).fetchone() != (0,):
                time.sleep(0.05)
            query = "SELECT id::text, return_value FROM django_tasks_database_dbtaskresult"
            found = dict(connection.execute(query).fetchall())
        return [found[task] for task in sent]

    def redeliver(self):
        with self._connection() as connection:
            connection.execute(
                "UPDATE django_tasks_database_dbtaskresult SET status = 'READY' WHERE status = 'RUNNING'"
            )

    def _connection(self):
        import psycopg

        return psycopg.connect(self.broker, autocommit=True)


ENGINES = {
    "celery": CeleryEngine,
    "taskiq": TaskiqEngine,
    "arq": ArqEngine,
    "procrastinate": ProcrastinateEngine,
    "django": DjangoEngine,
}
