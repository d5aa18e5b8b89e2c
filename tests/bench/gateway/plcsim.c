/* Many small Modbus TCP devices in one thread, so that the load generator is never what is measured.
 *
 *   plcsim BASEPORT DEVICES REGISTERS [SEED]
 *
 * Device k listens on 127.0.0.1:BASEPORT+k and answers every unit id. Holding and input registers read alike:
 *   0       production count: 50 a second while counting is on, rolls over at 65536
 *   1       how often this register has been read, so that a reader's values tell which of its polls arrived
 *   others  triangle waves of different periods, a step every 100 ms
 * Requests may be pipelined. Addresses beyond REGISTERS: exception 2; counts outside 1-125 (bits 1-2000): exception 3;
 * writes are counted and refused with exception 1.
 *
 * One control connection at a time on port BASEPORT+DEVICES, a command a line, each answered with one line of JSON:
 *   stats | count on | count off | hang K | kill K | revive K
 *   faults RESET DELAY EXCEPTION SILENT MS     per ten thousand requests; MS is how long a delayed reply waits
 * A hung device accepts and reads and never answers. A killed one closes its listener and its connections.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_DEVICES = 250, MOST_REGISTERS = 10000, MOST_CONNECTIONS = 4000, IN = 16384, OUT = 262144 };
enum { LISTENER, FIELD, CONTROL_LISTENER, CONTROL };
enum { GOOD, HUNG, DEAD };
static const double RATE = 50.0, TICK = 0.1;

typedef struct peer {
    int fd, kind, device, silent, writing;
    int in, from, to;
    double held;                      /* nothing is answered before this moment */
    uint8_t *input, *output;
} peer;

typedef struct {
    peer *listener;
    int mode;
    uint64_t served, serial, requests;
} device;

static device devices[MOST_DEVICES];
static peer *peers[MOST_CONNECTIONS];
static int many, base, count_of_devices, registers, poller, stopping;
static uint8_t image[MOST_DEVICES][2 * MOST_REGISTERS];
static uint64_t requests, served, exceptions, writes, resets, delays, silences, random_state = 88172645463325252ULL;
static int chance[4];
static double delay, counting_since, counted;
static int counting;
static long tick = -1;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void on_signal(int number) { (void)number; stopping = 1; }

static uint64_t draw(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

static uint64_t count(double t) { return (uint64_t)(counted + (counting ? (t - counting_since) * RATE : 0)); }

static void put16(uint8_t *to, unsigned value) { to[0] = (uint8_t)(value >> 8); to[1] = (uint8_t)value; }

static void move_waves(double t) {
    long step = (long)(t / TICK);
    if (step == tick) return;
    tick = step;
    for (int d = 0; d < count_of_devices; d++)
        for (int r = 2; r < registers; r++) {
            int half = 20 + (r * 7 + d * 3) % 60, at = (int)((step + r * 13 + d * 29) % (2 * half));
            put16(image[d] + 2 * r, (unsigned)(1000 + r + 10 * (at < half ? at : 2 * half - at)));
        }
}

static peer *enrol(int fd, int kind, int of) {
    if (many == MOST_CONNECTIONS) { close(fd); return NULL; }
    peer *p = calloc(1, sizeof *p);
    if (!p) { close(fd); return NULL; }
    p->fd = fd; p->kind = kind; p->device = of;
    if (kind == FIELD || kind == CONTROL) { p->input = malloc(IN); p->output = malloc(OUT); }
    peers[many++] = p;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    return p;
}

static void part(peer *p, int reset) {
    if (reset) {
        struct linger hard = {1, 0};
        setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    close(p->fd);
    p->fd = -1;                       /* freed after the round: events of this round may still name it */
}

static void sweep(void) {
    for (int i = 0; i < many;)
        if (peers[i]->fd < 0) {
            free(peers[i]->input); free(peers[i]->output); free(peers[i]);
            peers[i] = peers[--many];
        } else i++;
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 128)) {
        fprintf(stderr, "plcsim: port %d: %s\n", port, strerror(errno));
        if (fd >= 0) close(fd);
        return -1;
    }
    return fd;
}

static void flush(peer *p) {
    while (p->from < p->to) {
        ssize_t n = send(p->fd, p->output + p->from, (size_t)(p->to - p->from), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) { part(p, 0); return; }
            break;
        }
        p->from += (int)n;
    }
    int more = p->from < p->to;
    if (!more) p->from = p->to = 0;
    if (more != p->writing) {
        struct epoll_event e = {.events = EPOLLIN | (more ? EPOLLOUT : 0), .data.ptr = p};
        epoll_ctl(poller, EPOLL_CTL_MOD, p->fd, &e);
        p->writing = more;
    }
}

/* The reply to one PDU at `pdu`; gives its length, written behind room for the header. */
static int answer(device *d, int number, const uint8_t *pdu, int length, uint8_t *reply, double t) {
    int function = pdu[0], address = length >= 5 ? pdu[1] << 8 | pdu[2] : 0, quantity = length >= 5 ? pdu[3] << 8 | pdu[4] : 0;
    int code = 0;
    reply[0] = (uint8_t)function;
    if (length == 5 && (function == 3 || function == 4)) {
        if (quantity < 1 || quantity > 125) code = 3;
        else if (address + quantity > registers) code = 2;
        else {
            reply[1] = (uint8_t)(2 * quantity);
            memcpy(reply + 2, image[number] + 2 * address, (size_t)(2 * quantity));
            if (address == 0) put16(reply + 2, (unsigned)(count(t) & 0xffff));
            if (address <= 1 && address + quantity > 1) put16(reply + 2 + 2 * (1 - address), (unsigned)(++d->serial & 0xffff));
            served += (uint64_t)quantity;
            d->served += (uint64_t)quantity;
            return 2 + 2 * quantity;
        }
    } else if (length == 5 && (function == 1 || function == 2)) {
        if (quantity < 1 || quantity > 2000) code = 3;
        else if (address + quantity > registers) code = 2;
        else {
            int bytes = (quantity + 7) / 8;
            reply[1] = (uint8_t)bytes;
            memset(reply + 2, 0, (size_t)bytes);
            for (int i = 0; i < quantity; i++) reply[2 + i / 8] |= (uint8_t)((image[number][2 * (address + i) + 1] & 1) << (i % 8));
            return 2 + bytes;
        }
    } else if (function == 0x2b && length >= 2 && pdu[1] == 0x0e) {
        static const uint8_t identity[] = "\x2b\x0e\x01\x01\x00\x00\x03\x00\x05""bench\x01\x06""plcsim\x02\x03""1.0";
        memcpy(reply, identity, sizeof identity - 1);
        return (int)sizeof identity - 1;
    } else {
        code = 1;
        if (function == 5 || function == 6 || function == 15 || function == 16 || (function >= 21 && function <= 23)) writes++;
    }
    exceptions++;
    reply[0] = (uint8_t)(function | 0x80);
    reply[1] = (uint8_t)code;
    return 2;
}

static void serve(peer *p, double t) {
    device *d = &devices[p->device];
    int done = 0;
    while (p->in - done >= 8 && !p->silent && d->mode == GOOD && p->held <= t && OUT - p->to > 300) {
        const uint8_t *frame = p->input + done;
        int length = frame[4] << 8 | frame[5];
        if (frame[2] || frame[3] || length < 2 || length > 254) { part(p, 0); return; }
        if (p->in - done < 6 + length) break;
        int fault = -1;
        if (p->held == 0 && (chance[0] | chance[1] | chance[2] | chance[3])) {
            int dice = (int)(draw() % 10000);
            for (fault = 0; fault < 4 && dice >= chance[fault]; fault++) dice -= chance[fault];
        }
        if (fault == 0) { resets++; part(p, 1); return; }
        if (fault == 1) { delays++; p->held = t + delay; break; }
        if (fault == 3) { silences++; p->silent = 1; break; }
        p->held = 0;
        uint8_t *out = p->output + p->to;
        requests++;
        d->requests++;
        int size = 2;
        if (fault == 2) { exceptions++; out[7] = frame[7] | 0x80; out[8] = 4; }
        else size = answer(d, p->device, frame + 7, length - 1, out + 7, t);
        memcpy(out, frame, 4);
        put16(out + 4, (unsigned)(size + 1));
        out[6] = frame[6];
        p->to += 7 + size;
        done += 6 + length;
    }
    if (p->silent || d->mode == HUNG) done = p->in;
    if (done) { memmove(p->input, p->input + done, (size_t)(p->in - done)); p->in -= done; }
    flush(p);
}

static void set_mode(int k, int mode) {
    device *d = &devices[k];
    if (mode == DEAD && d->mode != DEAD) {
        part(d->listener, 0);
        d->listener = NULL;
    }
    if (mode != HUNG && d->mode != mode)
        for (int i = 0; i < many; i++)
            if (peers[i]->kind == FIELD && peers[i]->device == k && peers[i]->fd >= 0) part(peers[i], d->mode == HUNG);
    if (mode != DEAD && d->mode == DEAD) {
        int fd = listen_on(base + k);
        if (fd < 0) return;
        d->listener = enrol(fd, LISTENER, k);
    }
    d->mode = mode;
}

static int stats(char *to, size_t room, double t) {
    int n = snprintf(to, room, "{\"requests\":%lu,\"registers\":%lu,\"exceptions\":%lu,\"writes\":%lu,\"resets\":%lu,\"delays\":%lu,"
                     "\"silences\":%lu,\"count\":%lu,\"serials\":[", requests, served, exceptions, writes, resets, delays, silences, count(t));
    for (int i = 0; i < count_of_devices; i++) n += snprintf(to + n, room - (size_t)n, "%s%lu", i ? "," : "", devices[i].serial);
    return n + snprintf(to + n, room - (size_t)n, "]}\n");
}

static void command(peer *p, char *line, double t) {
    int k, f[5];
    char *reply = (char *)p->output + p->to;
    size_t room = (size_t)(OUT - p->to);
    if (room < 16384) return;
    if (!strcmp(line, "stats")) { p->to += stats(reply, room, t); return; }
    int known = 1;
    if (!strcmp(line, "count on")) { if (!counting) { counting = 1; counting_since = t; } }
    else if (!strcmp(line, "count off")) { counted = (double)count(t); counting = 0; }
    else if (sscanf(line, "faults %d %d %d %d %d", f, f + 1, f + 2, f + 3, f + 4) == 5) { memcpy(chance, f, sizeof chance); delay = f[4] / 1000.0; }
    else if (sscanf(line, "hang %d", &k) == 1 && k >= 0 && k < count_of_devices) set_mode(k, HUNG);
    else if (sscanf(line, "kill %d", &k) == 1 && k >= 0 && k < count_of_devices) set_mode(k, DEAD);
    else if (sscanf(line, "revive %d", &k) == 1 && k >= 0 && k < count_of_devices) set_mode(k, GOOD);
    else known = 0;
    p->to += snprintf(reply, room, "{\"done\":%s}\n", known ? "true" : "false");
}

static void control(peer *p, double t) {
    char *end;
    while (p->in && (end = memchr(p->input, '\n', (size_t)p->in))) {
        *end = 0;
        command(p, (char *)p->input, t);
        int used = (int)(end + 1 - (char *)p->input);
        memmove(p->input, end + 1, (size_t)(p->in - used));
        p->in -= used;
    }
    flush(p);
}

static void greet(peer *p) {
    int fd = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    enrol(fd, p->kind == LISTENER ? FIELD : CONTROL, p->device);
}

static void hear(peer *p, uint32_t events, double t) {
    if (p->kind == LISTENER || p->kind == CONTROL_LISTENER) { greet(p); return; }
    if (events & EPOLLOUT) flush(p);
    if (p->fd < 0) return;
    if (p->in < IN) {
        ssize_t n = recv(p->fd, p->input + p->in, (size_t)(IN - p->in), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) { part(p, 0); return; }
        if (n > 0) p->in += (int)n;
    }
    if (p->kind == CONTROL) control(p, t); else serve(p, t);
}

int main(int given, char **words) {
    base = given > 3 ? atoi(words[1]) : 0;
    count_of_devices = given > 3 ? atoi(words[2]) : 0;
    registers = given > 3 ? atoi(words[3]) : 0;
    if (given > 4) random_state ^= strtoull(words[4], NULL, 10) << 20;
    if (base < 1 || count_of_devices < 1 || count_of_devices > MOST_DEVICES || registers < 2 || registers > MOST_REGISTERS) {
        fprintf(stderr, "usage: plcsim BASEPORT DEVICES(1-%d) REGISTERS(2-%d) [SEED]\n", MOST_DEVICES, MOST_REGISTERS);
        return 2;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i <= count_of_devices; i++) {
        int fd = listen_on(base + i);
        if (fd < 0) return 1;
        peer *p = enrol(fd, i < count_of_devices ? LISTENER : CONTROL_LISTENER, i);
        if (i < count_of_devices) devices[i].listener = p;
    }
    move_waves(now());
    printf("{\"ready\":true}\n");
    fflush(stdout);
    struct epoll_event events[256];
    while (!stopping) {
        int waiting = 100;
        for (int i = 0; i < many && waiting > 2; i++) if (peers[i]->held > 0) waiting = 2;
        int n = epoll_wait(poller, events, 256, waiting);
        double t = now();
        move_waves(t);
        for (int i = 0; i < n; i++) {
            peer *p = events[i].data.ptr;
            if (p->fd >= 0) hear(p, events[i].events, t);
        }
        if (waiting < 100)
            for (int i = 0; i < many; i++)
                if (peers[i]->fd >= 0 && peers[i]->held > 0 && peers[i]->held <= t) serve(peers[i], t);
        sweep();
    }
    return 0;
}
