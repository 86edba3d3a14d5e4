/*
 * A program with two blocks of memory in one area, as the kernel makes of neighbours. The first block grows by
 * mremap and is moved, the second one shrinks and grows again. The new pages must read as zeros. If the area was mapped
 * from a file in the meantime, they show the bytes that the file has there: those of the neighbour, and old ones.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include "report.h"

#define PAGES 1024u

static unsigned char *resized(unsigned char *memory, size_t from, size_t to)
{
	memory = mremap(memory, from * PAGE, to * PAGE, MREMAP_MAYMOVE);
	need(memory != MAP_FAILED, "mremap");
	return memory;
}

/* The pages from `written` on are new. */
static int check(const char *name, const unsigned char *memory, size_t pages, size_t written, unsigned char byte)
{
	size_t bad = 0;
	for (size_t at = 0; at < pages * PAGE; at++)
		bad += memory[at] != (at < written * PAGE ? byte : 0);
	if (bad)
		report("CORRUPT %s: %zu bytes\n", name, bad);
	return bad > 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	unsigned char *first = mmap(NULL, 2 * PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(first != MAP_FAILED, "mmap");
	unsigned char *second = first + PAGES * PAGE;
	memset(first, 0x11, PAGES * PAGE);
	memset(second, 0x22, PAGES * PAGE);

	report("ready %d\n", (int)getpid());
	wait_for_signal();

	first = resized(first, PAGES, 2 * PAGES);
	second = resized(resized(second, PAGES, 1), 1, PAGES);
	return end(check("neighbour", first, 2 * PAGES, PAGES, 0x11) + check("shrunken", second, PAGES, 1, 0x22));
}
