"""Programs that tests start as processes of their own, such as servers that serve an app."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.support import free_port

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/server.conf;
}}
"""


@asynccontextmanager
async def serving(
    *command: str, url: str, environ: Mapping[str, str], cwd: Path | None = None, output: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a server until the context ends; it has to answer at the URL first."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environ},
        cwd=cwd,
        stdout=output,
        stderr=output and asyncio.subprocess.STDOUT,
    )
    try:
        await _until_it_answers(process, url)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(60):
            await process.communicate()


async def _until_it_answers(process: asyncio.subprocess.Process, url: str) -> None:
    async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
        while True:
            assert process.returncode is None, "the process ended"
            try:
                await client.get(url)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


@asynccontextmanager
async def running_nginx(
    program: str, folder: Path, configuration: Callable[[str], str]
) -> AsyncIterator[str]:
    """Run nginx with what the function returns for an address to listen on; yield its URL."""
    address = f"127.0.0.1:{free_port()}"
    (folder / "server.conf").write_text(configuration(address), encoding="utf-8")
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder), encoding="utf-8")
    command = (program, "-p", str(folder), "-c", str(folder / "nginx.conf"))
    async with serving(*command, environ={}, url=f"http://{address}"):
        yield f"http://{address}"
