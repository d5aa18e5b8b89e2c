"""pyModbusTCP serves four small tables and its identity; arguments: port, then the size of the registers."""

import sys

from pyModbusTCP.server import DataBank, DeviceIdentification, ModbusServer
from pyModbusTCP.utils import encode_ieee, long_list_to_word

port, size = int(sys.argv[1]), int(sys.argv[2])
bank = DataBank(coils_size=40, d_inputs_size=40, h_regs_size=size, i_regs_size=size, virtual_mode=False)
bank.set_coils(0, [at % 3 == 0 for at in range(40)])
bank.set_discrete_inputs(0, [at % 3 == 1 for at in range(40)])
bank.set_input_registers(0, [(at * 257) % 65536 for at in range(size)])
bank.set_holding_registers(0, [(at * 3 + 1) % 65536 for at in range(size)])
# Numbers as this stack's own encoders lay them out: high word first from 100, low word first from 120.
for at, high_first in ((100, True), (120, False)):
    bank.set_holding_registers(at, long_list_to_word([encode_ieee(21.5), 3_000_000_000], big_endian=high_first))
    numbers = [encode_ieee(-1234.5678, double=True), 12_345_678_901_234_567_890]
    bank.set_holding_registers(at + 4, long_list_to_word(numbers, big_endian=high_first, long_long=True))
who = DeviceIdentification(
    vendor_name=b"Acme", product_code=b"FP-7", major_minor_revision=b"2.4.1", product_name=b"Filler", model_name=b"F7"
)
ModbusServer(host="127.0.0.1", port=port, data_bank=bank, device_id=who).start()
