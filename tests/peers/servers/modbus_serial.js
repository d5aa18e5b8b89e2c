// modbus-serial: holding 66 is never answered, 77 and 88 after 1.5 s; the others are 1000 + address. Arguments: port.
const { ServerTCP } = require("modbus-serial");

const vector = {
    getHoldingRegister(address, unit, reply) {
        if (address === 66) return;
        setTimeout(() => reply(null, 1000 + address), address === 77 || address === 88 ? 1500 : 0);
    },
    getInputRegister: async (address, unit) => unit * 100 + address,
    getCoil: (address) => address % 2 === 0,
    getDiscreteInput: (address) => address % 2 === 1,
};
const server = new ServerTCP(vector, { host: "127.0.0.1", port: Number(process.argv[2]), unitID: 1 });
server.on("initialized", () => console.log("ready"));
server.on("socketError", () => {});
