/* The same reads by libmodbus, for comparison: modbus_libmodbus WARM SCANS REGISTERS PORT... prints CPU seconds. */
#include <modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static double cpu(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

int main(int argc, char **argv)
{
    int warm = atoi(argv[1]), scans = atoi(argv[2]), registers = atoi(argv[3]), devices = argc - 4;
    modbus_t *device[256];
    static double values[65536];
    for (int at = 0; at < devices; at++) {
        device[at] = modbus_new_tcp("127.0.0.1", atoi(argv[4 + at]));
        if (modbus_connect(device[at]) || modbus_set_slave(device[at], 1))
            perror("connect"), exit(1);
    }
    double start = 0;
    for (int scan = 0; scan < warm + scans; scan++) {
        if (scan == warm)
            start = cpu();
        for (int at = 0; at < devices; at++)
            for (int first = 0; first < registers; first += 125) {
                int count = registers - first < 125 ? registers - first : 125;
                uint16_t words[125];
                if (modbus_read_registers(device[at], first, count, words) != count)
                    perror("read"), exit(1);
                for (int word = 0; word < count; word++)
                    values[first + word] = words[word];
            }
    }
    printf("%.6f %.0f\n", cpu() - start, values[registers - 1]);
    return 0;
}
