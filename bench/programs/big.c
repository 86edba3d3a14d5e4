/* A process of 1 GiB of private anonymous memory, no two pages of it alike. Writes "ready" to the file it is given, and waits. */
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define BYTES ((size_t)1 << 30)

int main(int argc, char **argv)
{
	uint64_t *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (argc != 2 || memory == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < BYTES / sizeof *memory; i++)
		memory[i] = (i + 1) * 0x9e3779b97f4a7c15u;
	FILE *file = fopen(argv[1], "w");
	if (!file || fputs("ready\n", file) < 0 || fclose(file) != 0)
		return 1;
	for (;;)
		pause();
}
