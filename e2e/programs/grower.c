/*
 * A program that changes its memory in every way that a mapping of a file allows: it writes, forks, protects, grows by
 * mremap and by realloc, and frees. What it grows by must read as zeros. It runs in two parts, and can be dumped before
 * each: after the first signal it checks all its memory and changes it, after the second it checks all of it again.
 *
 * The areas are apart from each other, with a page between that cannot be accessed: neighbours.c says why.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "report.h"

#define AREAS 6
#define AREA_PAGES 1024u
/* Of malloc, each in a mapping of its own. */
#define BLOCKS 4
#define BLOCK_PAGES 600u
#define SPARSE 3
#define READ_ONLY 4

/* An area, or a block of malloc. What a page holds follows from its number and the number of its last writer. */
struct memory {
	const char *name;
	unsigned char *base;
	size_t pages;
	/* Pages at the end that were never written. */
	size_t untouched;
	/* Of every eighth page, and of all others. */
	unsigned rewritten_by, written_by;
};

static struct memory areas[AREAS] = {
	{ .name = "grown" }, { .name = "grown in place" }, { .name = "moved" }, { .name = "sparse" }, { .name = "read-only" },
	{ .name = "forked" },
};
static struct memory blocks[BLOCKS] = {
	{ .name = "block" }, { .name = "reallocated block" }, { .name = "smaller block" }, { .name = "freed block" },
};
static unsigned writer;

/* ---- Bytes ---- */

static bool is_untouched(const struct memory *memory, size_t page)
{
	return page >= memory->pages - memory->untouched || (memory == &areas[SPARSE] && page % 3 != 0);
}

static uint64_t first_word(const struct memory *memory, size_t page)
{
	const unsigned by = page % 8 == 3 ? memory->rewritten_by : memory->written_by;
	return mix((uint64_t)memory->name[0] << 48 | (uint64_t)by << 32 | page);
}

static void write_page(const struct memory *memory, size_t page)
{
	const uint64_t first = first_word(memory, page);
	for (size_t at = 0; at < PAGE; at += sizeof first) {
		const uint64_t word = first + at;
		memcpy(memory->base + page * PAGE + at, &word, sizeof word);
	}
}

static bool is_right(const struct memory *memory, size_t page)
{
	const uint64_t first = first_word(memory, page);
	for (size_t at = 0; at < PAGE; at += sizeof first) {
		const uint64_t word = is_untouched(memory, page) ? 0 : first + at;
		if (memcmp(memory->base + page * PAGE + at, &word, sizeof word) != 0)
			return false;
	}
	return true;
}

static int check(const struct memory *memory, const char *when)
{
	size_t bad = 0, first = 0;
	for (size_t page = 0; page < memory->pages; page++)
		if (!is_right(memory, page) && bad++ == 0)
			first = page;
	if (bad)
		report("CORRUPT %s: %s, %zu of %zu pages, the first is number %zu\n", memory->name, when, bad, memory->pages,
		       first);
	return bad > 0;
}

static int check_all(const char *when)
{
	int corrupt = 0;
	for (struct memory *area = areas; area < areas + AREAS; area++)
		corrupt += check(area, when);
	for (struct memory *block = blocks; block < blocks + BLOCKS; block++)
		corrupt += check(block, when);
	return corrupt;
}

/* Writes all pages that are not to stay untouched. */
static void fill(struct memory *memory)
{
	memory->written_by = memory->rewritten_by = writer;
	for (size_t page = 0; page < memory->pages; page++)
		if (!is_untouched(memory, page))
			write_page(memory, page);
}

/* Writes every eighth page again. */
static void rewrite(struct memory *memory)
{
	memory->rewritten_by = writer;
	for (size_t page = 3; page < memory->pages; page += 8)
		if (!is_untouched(memory, page))
			write_page(memory, page);
}

/* ---- Changes ---- */

/* Returns an area that has no neighbour. */
static unsigned char *map(size_t pages)
{
	unsigned char *base =
		mmap(NULL, (pages + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	need(base != MAP_FAILED && mprotect(base + PAGE, pages * PAGE, PROT_READ | PROT_WRITE) == 0, "an area");
	return base + PAGE;
}

/* What it grows by was never written, and is not written here. */
static void grow(struct memory *memory, size_t pages, int flags, void *target)
{
	unsigned char *base = mremap(memory->base, memory->pages * PAGE, pages * PAGE, flags, target);
	need(base != MAP_FAILED, "mremap");
	memory->base = base;
	memory->untouched += pages - memory->pages;
	memory->pages = pages;
}

/* What realloc adds may have any bytes. */
static void reallocate(struct memory *block, size_t pages)
{
	const size_t before = block->pages;
	block->base = realloc(block->base, pages * PAGE);
	need(block->base != NULL, "realloc");
	block->pages = pages;
	for (size_t page = before; page < pages; page++)
		write_page(block, page);
}

/* Zeros, whatever was there before. */
static int replace(struct memory *block, size_t pages)
{
	free(block->base);
	block->base = calloc(pages, PAGE);
	need(block->base != NULL, "calloc");
	block->pages = block->untouched = pages;
	const int corrupt = check(block, "of calloc");
	block->untouched = 0;
	fill(block);
	return corrupt;
}

/* A child has the same memory, and what it writes is its own. */
static int fork_and_write(void)
{
	int status;
	const pid_t child = fork();

	need(child >= 0, "fork");
	if (child == 0) {
		int corrupt = check_all("in a child");
		writer = 100;
		fill(&areas[5]);
		rewrite(&areas[0]);
		corrupt += replace(&blocks[3], BLOCK_PAGES);
		_exit(corrupt + check_all("written by a child") ? 1 : 0);
	}
	const bool is_well = waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (!is_well)
		report("CORRUPT child: it did not end well\n");
	return !is_well + check_all("written by a child, seen by its parent");
}

static int change(void)
{
	int corrupt = 0;

	writer++;
	unsigned char *place = map(4 * AREA_PAGES);
	grow(&areas[0], 2 * AREA_PAGES, MREMAP_MAYMOVE, NULL);
	/* Behind the area is what the program itself has left there: room is made for it. */
	need(munmap(areas[1].base + areas[1].pages * PAGE, PAGE) == 0, "munmap");
	grow(&areas[1], AREA_PAGES + 1, 0, NULL);
	grow(&areas[2], 3 * AREA_PAGES, MREMAP_MAYMOVE | MREMAP_FIXED, place);
	corrupt += check_all("grown");

	reallocate(&blocks[1], 4 * BLOCK_PAGES);
	reallocate(&blocks[2], BLOCK_PAGES / 2);
	corrupt += replace(&blocks[3], 2 * BLOCK_PAGES);

	need(mprotect(areas[READ_ONLY].base, AREA_PAGES * PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
	rewrite(&areas[READ_ONLY]);
	need(mprotect(areas[READ_ONLY].base, AREA_PAGES / 2 * PAGE, PROT_READ) == 0, "mprotect");
	rewrite(&areas[2]);
	rewrite(&areas[SPARSE]);
	rewrite(&blocks[0]);
	corrupt += check_all("changed");
	return corrupt + fork_and_write();
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	for (struct memory *area = areas; area < areas + AREAS; area++) {
		area->base = map(AREA_PAGES);
		area->pages = AREA_PAGES;
		fill(area);
	}
	need(mprotect(areas[READ_ONLY].base, AREA_PAGES * PAGE, PROT_READ) == 0, "mprotect");
	for (struct memory *block = blocks; block < blocks + BLOCKS; block++) {
		block->base = malloc(BLOCK_PAGES * PAGE);
		need(block->base != NULL, "malloc");
		block->pages = BLOCK_PAGES;
		fill(block);
	}

	report("ready %d\n", (int)getpid());
	wait_for_signal();
	int corrupt = check_all("restored");
	corrupt += change();
	report("changed\n");
	wait_for_signal();
	return end(corrupt + check_all("at the end"));
}
