"""How a router stops, and what it withstands."""

import asyncio
import json
import random
import signal
import time

from tests.engines import processes
from tests.engines.load import Load
from tests.engines.processes import ALIAS, PATIENCE, EngineProcess, table_of, until, write_table
from tests.process.router.conftest import Site

STREAM = {"synthetic_gap": 0.05, "synthetic_tokens": 30}


def stream_of(port: int, tokens: int, gap: float):
    body = json.dumps({"model": ALIAS, "stream": True, "synthetic_tokens": tokens, "synthetic_gap": gap}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: r\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


async def test_a_stopping_router_lets_its_streams_end_and_takes_no_new_ones(tmp_path, engines: list[EngineProcess]):
    write_table(tmp_path, table_of(engines))
    with processes.router(tmp_path) as router:
        streams = [await asyncio.open_connection("127.0.0.1", router.port) for _ in range(10)]
        for _, writer in streams:
            writer.write(stream_of(router.port, 30, 0.05))
        for reader, _ in streams:
            await reader.readuntil(b"data: ")
        router.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(until, lambda: _refused(router.port))
        for reader, writer in streams:
            assert (await asyncio.wait_for(reader.read(), PATIENCE)).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            writer.close()
        assert await asyncio.to_thread(router.process.wait, PATIENCE) == 0


async def test_a_stream_that_outlasts_the_drain_is_cut_visibly(tmp_path, engines: list[EngineProcess]):
    write_table(tmp_path, table_of(engines))
    with processes.router(tmp_path, "--drain-seconds", "0.5", workers=1) as router:
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
        writer.write(stream_of(router.port, 10_000, 0.05))
        await reader.readuntil(b"data: ")
        router.process.send_signal(signal.SIGTERM)
        assert not (await asyncio.wait_for(reader.read(), PATIENCE)).endswith(b"0\r\n\r\n")
        writer.close()
        assert await asyncio.to_thread(router.process.wait, PATIENCE) == 0
    until(lambda: all(engine.told()["open"] == 0 for engine in engines))


async def test_workers_do_not_outlive_a_killed_supervisor(tmp_path, engines: list[EngineProcess]):
    write_table(tmp_path, table_of(engines))
    with processes.router(tmp_path) as router:
        assert len(router.workers()) == 2
        router.process.kill()
        await asyncio.to_thread(until, lambda: _refused(router.port))


async def test_what_is_badly_meant_harms_nobody_else(site: Site):
    """Malformed JSON, header bombs, bodies of 10 MB, wrong keys, half-open connections and admin paths, beside a steady load."""
    for engine in site.engines:
        engine.change(tokens=5)
    paths_before = [set(engine.told()["paths"]) for engine in site.engines]
    load = Load(site.router.url, rate=30, document={"synthetic_gap": 0.01})
    rng = random.Random(7)
    async with load.running():
        held = [await _hold(site.router.port, b"POST /v1/completions HTTP/1.1\r\nHost: r\r\nContent-Le") for _ in range(50)]
        half = b"POST /v1/completions HTTP/1.1\r\nHost: r\r\nContent-Length: 9999999\r\n\r\n{"
        held += [await _hold(site.router.port, half) for _ in range(50)]
        for _ in range(4):
            await asyncio.gather(*(_send(site.router.port, kind(rng)) for kind in BADLY_MEANT))
        seen = len(load.records)
        deadline = time.monotonic() + PATIENCE
        while len(load.records) < seen + 30:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
    assert load.failures == []
    for writer in held:
        writer.close()
    for before, engine in zip(paths_before, site.engines, strict=True):
        assert set(engine.told()["paths"]) - before <= {"POST /v1/chat/completions", "POST /v1/completions"}
    assert "defect" not in (site.router.folder / "log").read_text()
    assert len(site.router.workers()) == 2


def _request(line: str, body: bytes, *headers: str) -> bytes:
    head = "".join(f"{header}\r\n" for header in ("Host: r", f"Content-Length: {len(body)}", *headers))
    return f"{line} HTTP/1.1\r\n{head}\r\n".encode() + body


FULL = json.dumps({"model": ALIAS, "prompt": "x" * (10 * 1024 * 1024 - 100)}).encode()
BADLY_MEANT = (
    lambda rng: _request("POST /v1/chat/completions", b'{"model": "tickets"' * rng.randrange(1, 50)),
    lambda rng: _request("POST /v1/chat/completions", b"[" * 200_000),
    lambda rng: _request("POST /v1/chat/completions", b"{}", *(f"X-{n}: {'y' * 1000}" for n in range(2000))),
    lambda rng: _request("POST /v1/chat/completions", b"{}", "X: " + "y" * 1_000_000),
    lambda rng: _request("POST /v1/completions", FULL),
    lambda rng: _request("POST /v1/completions", FULL + b"x" * 1000),
    lambda rng: _request("POST /v1/completions", b'{"model":"tickets"}', "Authorization: Bearer " + "k" * rng.randrange(1, 9000)),
    lambda rng: _request(f"POST /v1/{rng.choice(['load', 'unload'])}_lora_adapter", b'{"lora_name":"x","lora_path":"/etc"}'),
    lambda rng: _request("POST /v1/chat/completions/..%2f..%2fv1/load_lora_adapter", b"{}"),
    lambda rng: rng.randbytes(rng.randrange(1, 5000)),
    lambda rng: b"POST /v1/completions HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\n",
)


async def _hold(port: int, start: bytes) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(start)
    return writer


async def _send(port: int, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await asyncio.wait_for(reader.read(1024), 1)
    except (ConnectionError, TimeoutError):
        return
    finally:
        writer.close()


def _refused(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
