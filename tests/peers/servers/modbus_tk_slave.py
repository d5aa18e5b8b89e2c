"""modbus-tk serves unit 1 and keeps silent for all others. Arguments: port, or path of a serial line."""

import sys
import threading

from modbus_tk import defines, modbus_rtu, modbus_tcp

where = sys.argv[1]
if where.isdigit():
    server = modbus_tcp.TcpServer(address="127.0.0.1", port=int(where), error_on_missing_slave=False)
else:
    import serial

    server = modbus_rtu.RtuServer(serial.Serial(where, 115200), error_on_missing_slave=False)
server.start()
unit = server.add_slave(1)
unit.add_block("holding", defines.HOLDING_REGISTERS, 0, 60)
unit.set_values("holding", 0, list(range(500, 560)))
unit.add_block("input", defines.ANALOG_INPUTS, 10, 10)
unit.set_values("input", 10, [65535 - at for at in range(10)])
unit.add_block("coils", defines.COILS, 0, 10)
unit.set_values("coils", 0, [1, 0, 0, 1, 1, 0, 0, 0, 0, 1])
unit.add_block("discrete", defines.DISCRETE_INPUTS, 0, 10)
unit.set_values("discrete", 0, [0, 1, 1, 0, 0, 1, 1, 1, 1, 0])
print("ready", flush=True)
threading.Event().wait()
