"""How TorchServe's client uses connections; the other tests ask the real TorchServe by it."""

import asyncio

from aiohttp import web

from crack.torchserve import TorchServe


async def connections(host: str) -> set[object]:
    """Those by which two photographs reach a server at that address, one after the other."""
    seen: set[object] = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport
        seen.add(request.transport.get_extra_info("peername"))
        await request.read()
        return web.Response()

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    url = f"http://{host}:{runner.addresses[0][1]}"
    async with TorchServe(url, url) as torchserve:
        for _ in range(2):
            await torchserve.predict([b"photograph"], {})
    await runner.cleanup()
    return seen


def test_photographs_share_a_connection_to_the_torchserve_of_this_machine() -> None:
    assert len(asyncio.run(connections("127.0.0.1"))) == 1


def test_under_another_address_each_has_its_own_as_there_may_be_several_torchserves() -> None:
    assert len(asyncio.run(connections("127.0.0.2"))) == 2
