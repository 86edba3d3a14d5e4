/*
 * A program that is dumped while it runs on: a thread writes page after page, round after round, and each page has the stamp
 * of its round in all of its words. Before it writes a page it compares it with the stamp of the round before. So a dump in
 * which a page is of a later moment than the others is found when the thread comes to that page. It also has a file that
 * is deleted, with real data, which is dumped as a ghost file. After the signal the thread ends its round and another one,
 * and the file is compared.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "report.h"

#define PAGES 8192
#define WORDS (PAGE / sizeof(uint64_t))
#define GHOST_MIB 300
#define MIB (1024 * 1024)

static volatile uint64_t *memory;
static atomic_int rounds_left = -1;
static int corrupt;

static uint64_t stamp_of(uint64_t round, uint64_t page)
{
	return mix((round << 32) + page);
}

static void write_page(uint64_t round, uint64_t page)
{
	for (size_t i = 0; i < WORDS; i++)
		memory[page * WORDS + i] = stamp_of(round, page);
}

static void compare_page(uint64_t round, uint64_t page)
{
	for (size_t i = 0; i < WORDS; i++) {
		if (memory[page * WORDS + i] == stamp_of(round, page))
			continue;
		if (!corrupt++)
			report("CORRUPT stamps: page %d is not of round %d\n", (int)page, (int)round);
		return;
	}
}

static void *write_rounds(void *unused)
{
	for (uint64_t round = 1; rounds_left != 0; round++) {
		for (uint64_t page = 0; page < PAGES; page++) {
			compare_page(round - 1, page);
			write_page(round, page);
		}
		if (rounds_left > 0)
			rounds_left--;
	}
	return unused;
}

static void fill(uint64_t *block, uint64_t number)
{
	for (size_t i = 0; i < MIB / sizeof(uint64_t); i++)
		block[i] = mix(number * MIB + i);
}

static int make_ghost(uint64_t *block)
{
	const char *path = "/tmp/pagepipe-ghost";
	const int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	need(file >= 0, "a file");
	for (uint64_t i = 0; i < GHOST_MIB; i++) {
		fill(block, i);
		need(write(file, block, MIB) == MIB, "write");
	}
	need(unlink(path) == 0, "unlink");
	return file;
}

static void compare_ghost(int file, uint64_t *block)
{
	uint64_t *found = malloc(MIB);
	for (uint64_t i = 0; i < GHOST_MIB; i++) {
		fill(block, i);
		if (pread(file, found, MIB, i * MIB) == MIB && memcmp(found, block, MIB) == 0)
			continue;
		corrupt++;
		report("CORRUPT ghost: MiB %d\n", (int)i);
		return;
	}
}

int main(int argc, char **argv)
{
	pthread_t writer;
	uint64_t *block = malloc(MIB);

	begin(argc, argv);
	const int ghost = make_ghost(block);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(memory != MAP_FAILED, "mmap");
	for (uint64_t page = 0; page < PAGES; page++)
		write_page(0, page);
	need(pthread_create(&writer, NULL, write_rounds, NULL) == 0, "a thread");
	report("ready %d\n", (int)getpid());
	wait_for_signal();
	rounds_left = 2;
	pthread_join(writer, NULL);
	compare_ghost(ghost, block);
	return end(corrupt);
}
