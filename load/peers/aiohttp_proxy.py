"""A reverse proxy with aiohttp and uvloop, as a contestant of the load lab.

--tuning original: what a plain service of this kind has. --tuning optimized: more and longer-kept origin connections,
larger chunks, longer timeouts, and the TCP options with their fixed 256 KiB buffers.
"""

import argparse
import asyncio
import os
import signal
import socket

import aiohttp
import uvloop
from aiohttp import web

# The two columns of parameters: level low, and level high.
TUNINGS = {
    "original": dict(
        limit=100, per_host=30, keepalive=30, connect=8, total=45, dns=500, chunk=8 * 1024, tcp=False
    ),
    "optimized": dict(
        limit=200, per_host=50, keepalive=60, connect=15, total=90, dns=600, chunk=64 * 1024, tcp=True
    ),
}

HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
}


def tune(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 * 1024)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
    if hasattr(socket, "TCP_QUICKACK"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def tuned_socket(address_info):
    family, kind, protocol, _, _ = address_info
    sock = socket.socket(family, kind, protocol)
    tune(sock)
    return sock


def end_to_end(headers):
    named = {n.strip().lower() for v in headers.getall("Connection", []) for n in v.split(",")}
    return [(k, v) for k, v in headers.items() if k.lower() not in HOP_BY_HOP | named]


async def serve(args):
    tuning = TUNINGS[args.tuning]
    more = {"socket_factory": tuned_socket} if tuning["tcp"] else {}
    connector = aiohttp.TCPConnector(
        limit=tuning["limit"], limit_per_host=tuning["per_host"], keepalive_timeout=tuning["keepalive"],
        ttl_dns_cache=tuning["dns"], **more
    )
    session = aiohttp.ClientSession(
        connector=connector, auto_decompress=False, skip_auto_headers=("User-Agent", "Accept-Encoding"),
        timeout=aiohttp.ClientTimeout(total=tuning["total"], connect=tuning["connect"]),
    )

    async def handle(request):
        headers = [(k, v) for k, v in end_to_end(request.headers) if k.lower() != "host"]
        body = request.content if request.can_read_body else None
        response = None
        try:
            async with session.request(
                request.method, args.origin + request.raw_path, headers=headers, data=body, allow_redirects=False
            ) as upstream:
                response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
                for name, value in end_to_end(upstream.headers):
                    response.headers.add(name, value)
                if tuning["tcp"] and request.transport is not None:
                    tune(request.transport.get_extra_info("socket"))
                await response.prepare(request)
                async for piece in upstream.content.iter_chunked(tuning["chunk"]):
                    await response.write(piece)
                await response.write_eof()
                return response
        except (asyncio.TimeoutError, aiohttp.ClientError) as error:
            if response is not None and response.prepared:
                # The head is out: only the end of the connection tells the client that the body is not whole.
                if request.transport is not None:
                    request.transport.abort()
                return response
            status = 504 if isinstance(error, asyncio.TimeoutError) else 502
            return web.Response(status=status, text=f"{type(error).__name__}\n")

    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, handler_cancellation=True)
    await runner.setup()
    host, port = args.listen.rsplit(":", 1)
    await web.TCPSite(runner, host, int(port), reuse_port=True, backlog=4096).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await session.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--origin", required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tuning", choices=TUNINGS, default="original")
    args = parser.parse_args()
    children = []
    for _ in range(args.workers):
        pid = os.fork()
        if pid == 0:
            uvloop.run(serve(args))
            return
        children.append(pid)

    def end(*_):
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    os.wait()
    end()


if __name__ == "__main__":
    main()
