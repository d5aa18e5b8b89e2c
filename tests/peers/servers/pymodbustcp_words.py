"""pyModbusTCP serves holding registers from a JSON list. Arguments: port, first address, file."""

import json
import sys
from pathlib import Path

from pyModbusTCP.server import DataBank, ModbusServer

bank = DataBank(h_regs_size=0x10000)
bank.set_holding_registers(int(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()))
ModbusServer(host="127.0.0.1", port=int(sys.argv[1]), data_bank=bank).start()
