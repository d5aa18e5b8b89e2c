/* libmodbus serves unit 1 and misbehaves on request. Argument: port, or path of a serial line.
 *
 * Holding registers are 1000 + address, input registers 2000 + address, every third coil and discrete input is on.
 * A read of holding registers that starts at one of the addresses below is answered in its own wrong way.
 */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 400, WRONG_TRANSACTION = 300, BYTE_BY_BYTE = 310, ONE_FOR_TWO = 320, WRONG_UNIT = 330, BUSY = 340,
       TWICE = 350, ONE_FOR_ALL_BUT_LENGTH = 360 };

static modbus_mapping_t *map;

/* Builds the reply in libmodbus itself, over a socket pair, so that only the wrong byte is of this program. */
static int reply_bytes(modbus_t *context, const uint8_t *query, int length, uint8_t *reply)
{
    int pair[2], real = modbus_get_socket(context), got;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return -1;
    modbus_set_socket(context, pair[0]);
    modbus_reply(context, query, length, map);
    modbus_set_socket(context, real);
    got = (int)read(pair[1], reply, MODBUS_TCP_MAX_ADU_LENGTH);
    close(pair[0]);
    close(pair[1]);
    return got;
}

static void answer(modbus_t *context, uint8_t *query, int length)
{
    int header = modbus_get_header_length(context), is_tcp = header == 7, socket = modbus_get_socket(context), got;
    int address = query[header + 1] << 8 | query[header + 2];
    uint8_t reply[MODBUS_TCP_MAX_ADU_LENGTH];

    if (query[header] != MODBUS_FC_READ_HOLDING_REGISTERS) address = -1;
    if (!is_tcp && query[0] != 1) return;
    switch (address) {
    case BUSY:
        modbus_reply_exception(context, query, MODBUS_EXCEPTION_SLAVE_OR_SERVER_BUSY);
        return;
    case ONE_FOR_TWO:
        query[header + 4] = 1;
        modbus_reply(context, query, length, map);
        return;
    case WRONG_TRANSACTION:
    case WRONG_UNIT:
    case BYTE_BY_BYTE:
    case TWICE:
    case ONE_FOR_ALL_BUT_LENGTH:
        if (!is_tcp || (got = reply_bytes(context, query, length, reply)) <= 0) return;
        if (address == WRONG_TRANSACTION) reply[1] ^= 0xff;
        if (address == WRONG_UNIT) reply[6] = 2;
        if (address == ONE_FOR_ALL_BUT_LENGTH) { reply[5] -= 2; got -= 2; }
        for (int at = 0; at < got; at++) {
            if (address != BYTE_BY_BYTE) { send(socket, reply, got, MSG_NOSIGNAL); break; }
            send(socket, reply + at, 1, MSG_NOSIGNAL);
            usleep(5000);
        }
        if (address == TWICE) send(socket, reply, got, MSG_NOSIGNAL);
        return;
    default:
        modbus_reply(context, query, length, map);
    }
}

static void serve_line(const char *path)
{
    modbus_t *context = modbus_new_rtu(path, 115200, 'N', 8, 1);
    uint8_t query[MODBUS_RTU_MAX_ADU_LENGTH];

    modbus_set_slave(context, 1);
    if (modbus_connect(context)) exit(2);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int length = modbus_receive(context, query);
        if (length > 0) answer(context, query, length);
        else if (length < 0 && errno == EIO) exit(0);
    }
}

static void serve_network(int port)
{
    modbus_t *context = modbus_new_tcp("127.0.0.1", port);
    int listening = modbus_tcp_listen(context, 8), last = listening;
    fd_set all, ready;

    if (listening < 0) exit(2);
    puts("ready");
    fflush(stdout);
    FD_ZERO(&all);
    FD_SET(listening, &all);
    for (;;) {
        ready = all;
        if (select(last + 1, &ready, NULL, NULL, NULL) < 0) exit(3);
        for (int at = 0; at <= last; at++) {
            uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
            int length;
            if (!FD_ISSET(at, &ready)) continue;
            if (at == listening) {
                int socket = accept(listening, NULL, NULL);
                if (socket < 0) continue;
                FD_SET(socket, &all);
                if (socket > last) last = socket;
                continue;
            }
            modbus_set_socket(context, at);
            length = modbus_receive(context, query);
            if (length > 0) answer(context, query, length);
            else if (length < 0) { close(at); FD_CLR(at, &all); }
        }
    }
}

int main(int count, char **arguments)
{
    if (count != 2) return 2;
    map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);
    for (int at = 0; at < SIZE; at++) {
        map->tab_bits[at] = map->tab_input_bits[at] = at % 3 == 0;
        map->tab_registers[at] = (uint16_t)(1000 + at);
        map->tab_input_registers[at] = (uint16_t)(2000 + at);
    }
    if (strchr(arguments[1], '/')) serve_line(arguments[1]);
    else serve_network(atoi(arguments[1]));
    return 0;
}
