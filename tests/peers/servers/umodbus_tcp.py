"""uModbus routes single addresses of units 1 and 7; what no route names it refuses. Argument: port."""

import sys
from socketserver import ThreadingTCPServer

from umodbus import conf
from umodbus.server.tcp import RequestHandler, get_server

conf.SIGNED_VALUES = False
ThreadingTCPServer.allow_reuse_address = True
ThreadingTCPServer.daemon_threads = True
server = get_server(ThreadingTCPServer, ("127.0.0.1", int(sys.argv[1])), RequestHandler)
HOLES = {5, 6, 17}


@server.route(slave_ids=[1, 7], function_codes=[3, 4], addresses=[at for at in range(30) if at not in HOLES])
def register(slave_id: int, function_code: int, address: int) -> int:
    return slave_id * 1000 + address


@server.route(slave_ids=[1], function_codes=[1, 2], addresses=list(range(20)))
def bit(slave_id: int, function_code: int, address: int) -> bool:
    return address in (0, 7, 8, 15, 16)


@server.route(slave_ids=[1], function_codes=[3], addresses=[40])
def broken(slave_id: int, function_code: int, address: int) -> int:
    raise OSError("a sensor that cannot be reached")


server.serve_forever()
