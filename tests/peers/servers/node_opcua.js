// node-opcua: every policy, users, limits, qualities, moving values, PackML and Machinery.
// Arguments: port, folder with server.pem and server.key, the client certificate that it trusts; "small" leaves out
// what takes long to build.
const fs = require("fs");
const path = require("path");
const {
    DataType, DataValue, MessageSecurityMode, OPCUACertificateManager, OPCUAServer, SecurityPolicy, StatusCodes, Variant,
    VariantArrayType, nodesets,
} = require("node-opcua");

const [port, folder, trusted, small] = process.argv.slice(2);
const companions = [nodesets.di, nodesets.ia, nodesets.machinery, nodesets.packML];
const THEN = new Date("2026-01-01T00:00:00Z");

async function main() {
    const certificates = new OPCUACertificateManager({
        rootFolder: path.join(folder, "pki"), automaticallyAcceptUnknownCertificate: false,
    });
    await certificates.initialize();
    await certificates.trustCertificate(fs.readFileSync(trusted));
    const users = { reader: "correct horse" };
    const server = new OPCUAServer({
        port: Number(port),
        hostname: "127.0.0.1",
        host: "127.0.0.1",
        alternateHostname: ["127.0.0.1"],
        resourcePath: "",
        nodeset_filename: [nodesets.standard, ...(small ? [] : companions)],
        serverInfo: { applicationUri: "urn:peers:node-opcua", productUri: "urn:peers:product" },
        buildInfo: { productName: "Peer 7", manufacturerName: "Acme", softwareVersion: "7.2.1", buildNumber: "42" },
        serverCertificateManager: certificates,
        userCertificateManager: certificates,
        certificateFile: path.join(folder, "server.pem"),
        privateKeyFile: path.join(folder, "server.key"),
        securityPolicies: [
            SecurityPolicy.None, SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes128_Sha256_RsaOaep,
            SecurityPolicy.Aes256_Sha256_RsaPss,
        ],
        securityModes: [MessageSecurityMode.None, MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
        allowAnonymous: true,
        userManager: { isValidUser: (user, password) => users[user] === password },
        serverCapabilities: { operationLimits: { maxNodesPerRead: 1000, maxNodesPerBrowse: 100 } },
    });
    await server.initialize();
    const space = server.engine.addressSpace;
    const own = space.getOwnNamespace();
    const plant = own.addFolder(space.rootFolder.objects, { browseName: "Plant", nodeId: "s=plant" });

    const add = (name, dataType, value, more = {}) => own.addVariable({
        componentOf: plant, browseName: name, nodeId: `s=${name}`, dataType, minimumSamplingInterval: 50, ...more,
        value: new Variant({ dataType, arrayType: VariantArrayType.Scalar, value, ...more.variant }),
    });
    add("bool", DataType.Boolean, true);
    add("sbyte", DataType.SByte, -100);
    add("byte", DataType.Byte, 200);
    add("int16", DataType.Int16, -30000);
    add("uint16", DataType.UInt16, 60000);
    add("int32", DataType.Int32, -2000000000);
    add("uint32", DataType.UInt32, 4000000000);
    add("int64", DataType.Int64, [0x80000000, 1]); // high, low: -2**63 + 1
    add("uint64", DataType.UInt64, [0xffffffff, 0xfffffffe]);
    add("float", DataType.Float, 21.5);
    add("double", DataType.Double, -1234.5678);
    add("string", DataType.String, "füller 7 ✓");
    add("nan", DataType.Double, NaN);
    add("infinite", DataType.Double, Infinity);
    add("array", DataType.Double, [1, 2, 3], { valueRank: 1, variant: { arrayType: VariantArrayType.Array } });
    for (let at = 0; at < (small ? 10 : 2500); at++) add(`n${at}`, DataType.Double, at * 0.5);

    const told = (name, statusCode, value) => {
        const variable = add(name, DataType.Double, value);
        variable.setValueFromSource({ dataType: DataType.Double, value }, statusCode, THEN);
    };
    told("good", StatusCodes.Good, 1.5);
    told("stale", StatusCodes.UncertainLastUsableValue, 2.5);
    told("uncertain", StatusCodes.UncertainEngineeringUnitsExceeded, 3.5);
    told("broken", StatusCodes.BadSensorFailure, 4.5);
    told("unreachable", StatusCodes.BadNoCommunication, 5.5);
    own.addVariable({
        componentOf: plant, browseName: "secret", nodeId: "s=secret", dataType: DataType.Double, userAccessLevel: 0,
        accessLevel: 0, value: new Variant({ dataType: DataType.Double, value: 6.5 }),
    });

    const counter = add("counter", DataType.UInt32, 0);
    const flipping = add("flipping", DataType.Double, 7.5);
    let count = 0;
    setInterval(() => {
        counter.setValueFromSource({ dataType: DataType.UInt32, value: ++count });
        const bad = Math.floor(count / 5) % 2 === 1;
        flipping.setValueFromSource(
            { dataType: DataType.Double, value: 7.5 }, bad ? StatusCodes.BadSensorFailure : StatusCodes.Good);
    }, 100);

    if (!small) addMachine(space, own);
    await server.start();
    console.log("ready");
}

// A machine as the Machinery and PackML companion specifications describe it.
function addMachine(space, own) {
    const namespace = (name) => space.getNamespaceIndex(`http://opcfoundation.org/UA/${name}/`);
    const machine = own.addObject({
        organizedBy: space.findNode(`ns=${namespace("Machinery")};i=1001`), browseName: "Filler", nodeId: "s=filler",
    });
    const unit = space.findObjectType("PackMLBaseObjectType", namespace("PackML"))
        .instantiate({ browseName: "PackMLObjects", componentOf: machine });
    const identification = space.findObjectType("MachineIdentificationType", namespace("Machinery")).instantiate({
        browseName: { name: "Identification", namespaceIndex: namespace("DI") }, componentOf: machine,
        optionals: ["Model", "SoftwareRevision"],
    });
    const is = (variable, dataType, value) => variable.setValueFromSource({ dataType, value });
    is(unit.status.curMachSpeed, DataType.Float, 11.5);
    is(unit.status.machSpeed, DataType.Float, 12.5);
    is(unit.status.equipmentStarved, DataType.Boolean, true);
    is(unit.status.unitModeCurrent, DataType.Int32, 1);
    is(unit.baseStateMachine.currentState, DataType.LocalizedText, { text: "Execute" });
    is(identification.serialNumber, DataType.String, "S-7");
    is(identification.softwareRevision, DataType.String, "7.2.1");
    is(identification.manufacturer, DataType.LocalizedText, { text: "Acme" });
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
