"""A complete configuration to start from: every key, the commented value being the default."""

from __future__ import annotations

SAMPLE = """\
# Ullage agent. A commented value is the default. Durations: "250ms", "5s", "1m", "2h". Relative paths start at this
# file's folder. `ullage-agent check` reads every tag once; `ullage-agent run` starts. Editors with a TOML language
# server: `ullage-agent schema > agent.schema.json`, and the line `#:schema ./agent.schema.json` on top of this file.

[agent]
id = "filler-gw-1"            # a-z, 0-9 and -, at most 64; the name under which the scorer enrols this gateway
# state = "state"             # folder for key, outbox and history; one agent a folder
# heartbeat = "15s"

[broker]
host = "127.0.0.1"
# port = 1883
# protocol = "auto"           # auto, 5 or 3.1.1
# username = "filler-gw-1"
# password_file = "broker.password"
# ca = "ca.pem"               # turns TLS on
# certificate = "gateway.pem" # client certificate and key go together
# key = "gateway.key"

[scorer]
public_key = "scorer.pub"     # the one key whose receipts count; printed by `ullage-scorer enrol`

# [baseline]
# file = "baseline.npz"       # made by `ullage-agent learn`; where it is missing it is learned live
# learn = "10m"               # so much normal running is recorded first

# [watch]
# trigger = ""                # a tag: a row is judged each time it changes, instead of once an interval
# interval = "1s"             # default: the shortest scan of all devices

# [production]
# interval = "60s"            # the longest; intervals are cut at once where the line stops or starts

# [outbox]
# limit = "256MB"             # what waits for the scorer's receipts; when full, acquisition pauses

[local]
listen = "127.0.0.1:9464"     # /metrics for Prometheus and /healthz, on loopback only; without it, none

# [log]
# format = "text"             # or json: one line an event on standard error

[[device]]
name = "line-plc"
protocol = "modbus-tcp"       # modbus-tls, modbus-rtu, modbus-rtu-tcp: see below
host = "192.0.2.10"
# port = 502
# unit = 1
# timeout = "1s"              # bounds the connect and every request
# max_registers = 125         # most registers in one request
# max_gap = 8                 # unasked registers that a merged request may span
# in_flight = 1               # requests that may be out at once, up to 16; many PLCs take one
# share = false               # true: units of this host and port share one connection, asked in turn
scan = "250ms"                # default 1s
# protocol "modbus-tls" (port 802) also takes ca, certificate, key (all three) and server_name;
# "modbus-rtu" takes serial, baud, parity and stop_bits instead of host and port; "modbus-rtu-tcp" host and port.

  [[device.tag]]
  name = "line.count"
  address = "holding:10"      # zero-based; "40011", "400011" and "4x0011" name the same register
  type = "uint16"             # bit (u)int8 16 32 64, float32 64, bcd16 32, string (length = registers)
  # order = "ABCD"            # ABCD CDAB BADC DCBA
  # scale = 1.0               # value = raw * scale + offset
  # offset = 0.0
  # unit = ""                 # unit of measure
  # none = []                 # raw values that say "not implemented", such as "0x8000"
  # enum = {}                 # names of values: {0 = "stopped", 1 = "running"}
  role = "count"              # count running energy setpoint command state measurement (the default)
  line = "line-1"             # which line the roles count, running and energy speak of
  # rollover = 65536          # where a count starts over at 0, if not where its type does
  # watch = true              # false: not part of the rows that detection judges

  [[device.tag]]
  name = "line.running"
  address = "discrete:0"      # a coil or discrete input is a bit without saying so; not 0 is running
  role = "running"
  line = "line-1"

  [[device.tag]]
  name = "line.energy"        # kWh
  address = "holding:12"
  type = "float32"
  role = "energy"
  line = "line-1"

  [[device.tag]]
  name = "line.fault"
  address = "holding:14"
  bit = 3                     # one bit of a register, 0 the least significant
  role = "state"

  [[device.tag]]
  name = "line.speed_setpoint"
  address = "holding:16"
  type = "float32"
  role = "setpoint"

[[device]]
name = "tank-controller"
protocol = "opcua"            # needs ullage-agent[opcua]
url = "opc.tcp://192.0.2.11:4840"
# timeout = "2s"              # bounds the connect and every request
scan = "250ms"
# mode = "poll"               # or subscribe: the server reports what changed
# publishing = "250ms"        # subscribe: how often it reports; default: scan
# keepalive = "5s"            # subscribe: how often it says that nothing changed
# user = "reader"             # user and password_file go together; without any login it is anonymous
# password_file = "opcua.password"
# server_certificate = "tank.der" # protects the password; default: what `ullage-agent trust` stored
# allow_clear_password = false
# or a certificate login: user_certificate and user_key name its files
# [device.security]           # signed or encrypted
# policy = "Basic256Sha256"   # or Aes128Sha256RsaOaep, Aes256Sha256RsaPss
# mode = "SignAndEncrypt"     # or Sign
# certificate = "agent.der"   # default: made by `ullage-agent trust --own`
# key = "agent.pem"
# server_certificate = "tank.der" # default: what `ullage-agent trust` stored

  [[device.tag]]
  name = "tank.level"
  node = "ns=2;s=tank.level"  # or "nsu=urn:plant;s=tank.level", or path = "/Objects/2:Tank/2:Level"
  # sampling = "250ms"        # subscribe: how often the server looks; default: publishing
  # queue = 10                # subscribe: looks kept between reports
  # deadband = 0.0            # subscribe: smaller changes are none; or deadband_percent = 1.0 of the range

  [[device.tag]]
  name = "tank.level_setpoint"
  node = "ns=2;s=tank.level_setpoint"
  role = "setpoint"
"""
