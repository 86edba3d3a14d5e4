/*
 * A program that counts on zeros: it gives back a part of its memory with MADV_DONTNEED, as some allocators do, and reads
 * it again. In a mapping of a file the bytes of the file would come back.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include "report.h"

#define PAGES 1024u
#define GIVEN_BACK(page) ((page) % 4 == 1)

static unsigned char byte_of(size_t page)
{
	return (unsigned char)(1 + page % 255);
}

static bool is_all(const unsigned char *page, unsigned char byte)
{
	return page[0] == byte && memcmp(page, page + 1, PAGE - 1) == 0;
}

int main(int argc, char **argv)
{
	size_t lost = 0, old = 0;

	begin(argc, argv);
	unsigned char *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(memory != MAP_FAILED, "mmap");
	for (size_t page = 0; page < PAGES; page++)
		memset(memory + page * PAGE, byte_of(page), PAGE);

	report("ready %d\n", (int)getpid());
	wait_for_signal();

	for (size_t page = 0; page < PAGES; page++)
		lost += !is_all(memory + page * PAGE, byte_of(page));
	for (size_t page = 0; page < PAGES; page++)
		if (GIVEN_BACK(page))
			need(madvise(memory + page * PAGE, PAGE, MADV_DONTNEED) == 0, "madvise");
	for (size_t page = 0; page < PAGES; page++)
		old += !is_all(memory + page * PAGE, GIVEN_BACK(page) ? 0 : byte_of(page));
	if (lost)
		report("CORRUPT memory: %zu pages\n", lost);
	if (old)
		report("CORRUPT given back: %zu pages with old bytes\n", old);
	return end((lost > 0) + (old > 0));
}
