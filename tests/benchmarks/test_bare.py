"""The node that costs little is one that the library takes for a node."""

from __future__ import annotations

from benchmarks._node import bare_node
from trio_sessions import DedicatedAddress, Hoprd, PoolOptions, PortRange, Shared, open_pool


async def test_sessions_open_are_listed_and_close_in_each_namespace() -> None:
    namespaces = (DedicatedAddress(), PortRange(28_000, 28_020), Shared())
    async with bare_node(3) as bench, Hoprd(bench.url, token=bench.token) as hoprd:
        for namespace in namespaces:
            async with open_pool(hoprd, PoolOptions(namespace=namespace)) as pool:
                for relayer in bench.relayers:
                    await pool.session(relayer)
                listed = await hoprd.list_sessions()
                assert {str(each.key) for each in listed} == bench.load().listeners
                assert len(listed) == 3
            assert pool.report.clean
            assert bench.load().listeners == frozenset()
        assert bench.load().calls["open"] == 9
