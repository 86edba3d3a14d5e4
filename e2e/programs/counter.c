/*
 * A program that says all the time on which machine it runs: at each tick it appends a line to the file of the machine's name in
 * the folder of its first argument, "NANOSECONDS COUNT", and looks at a part of its memory. It has no file open in between.
 *
 *   counter FOLDER MEBIBYTES [PAGES]
 *
 * PAGES are looked at in each tick, by default 64.
 *
 * "CORRUPT" is the line if the memory is not what it was.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define TICK_NANOSECONDS 2000000
#define PAGES_OF_A_TICK 64

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void say(const char *folder, uint64_t count, int is_corrupt)
{
	char host[64], path[256], line[64];
	struct timespec now;
	int length, fd;

	if (gethostname(host, sizeof host) < 0)
		exit(1);
	snprintf(path, sizeof path, "%s/%s", folder, host);
	clock_gettime(CLOCK_REALTIME, &now);
	length = is_corrupt ? snprintf(line, sizeof line, "CORRUPT\n") :
		snprintf(line, sizeof line, "%lld %llu\n", now.tv_sec * 1000000000LL + now.tv_nsec, (unsigned long long)count);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (fd < 0 || write(fd, line, length) != length)
		exit(1);
	close(fd);
}

int main(int argc, char **argv)
{
	const struct timespec tick = { 0, TICK_NANOSECONDS };
	size_t words, page = 0, pages, of_a_tick = PAGES_OF_A_TICK;
	uint64_t *memory;

	if (argc < 3 || argc > 4)
		return 2;
	if (argc > 3)
		of_a_tick = (size_t)atol(argv[3]);
	pages = (size_t)atol(argv[2]) * 1048576 / PAGE;
	words = PAGE / sizeof *memory;
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	for (size_t at = 0; at < pages * words; at++)
		memory[at] = mix(at + 1);
	for (uint64_t count = 0;; count++) {
		for (size_t i = 0; i < of_a_tick; i++, page = (page + 1) % pages)
			if (memory[page * words + count % words] != mix(page * words + count % words + 1))
				say(argv[1], count, 1);
		say(argv[1], count, 0);
		nanosleep(&tick, NULL);
	}
}
