/*
 * The memory that the end-to-end tests carry through a dump and a restore: an area of every kind that matters for the
 * division into lazy and eager pages.
 *
 * The expected bytes are not stored. They follow from the area, the number of the page and the process, and are computed
 * for the comparison. A stored copy could be lost together with the memory that it describes, and both would agree.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "report.h"

#define PAGE_ALIGNED __attribute__((aligned(PAGE)))
#define STACK_PAGES 3
#define WORKERS 2

/* ---- What a page holds ---- */

enum content {
	UNTOUCHED, /* never written, so it reads as zeros */
	ZEROS,     /* written, with zeros: there is a page, and it is all zeros */
	NOISE,     /* pseudo-random bytes, another sequence for every page */
	FROM_FILE, /* never written: what the mapped file has there */
};

static enum content all_noise(size_t page)
{
	(void)page;
	return NOISE;
}

static enum content every_third(size_t page)
{
	return page % 3 == 0 ? NOISE : UNTOUCHED;
}

static enum content nearly_all_zeros(size_t page)
{
	return page == 7 ? NOISE : ZEROS;
}

/* A zero page of a private file mapping can't be left out of a dump: the file would show through. */
static enum content file_and_own(size_t page)
{
	return page == 1 ? NOISE : page == 2 ? ZEROS : FROM_FILE;
}

/* ---- The areas ---- */

enum area_id {
	DENSE, SPARSE, WRITTEN_ZEROS, HEAP, LOCKED, READ_ONLY, THREE_VMAS, ISLAND, SHARED_ANON, SHARED_MEMFD,
	PRIVATE_FILE, MAIN_STACK, FIRST_WORKER_STACK, AREAS = FIRST_WORKER_STACK + WORKERS
};

struct area {
	const char *name;
	size_t pages;
	enum content (*content)(size_t page);
	bool cow; /* private and writable: after a fork both sides may write pages of their own */
	unsigned char *base;
};

static struct area areas[AREAS] = {
	/* Larger than what CRIU puts into one pagemap entry (256 pages) and fetches by one request (4 MiB). */
	[DENSE] = { "dense", 1100, all_noise, true, NULL },
	[SPARSE] = { "sparse", 96, every_third, true, NULL },
	[WRITTEN_ZEROS] = { "written zeros", 32, nearly_all_zeros, true, NULL },
	[HEAP] = { "heap", 24, all_noise, true, NULL },
	[LOCKED] = { "locked", 8, all_noise, true, NULL },
	[READ_ONLY] = { "read-only", 8, all_noise, false, NULL },
	[THREE_VMAS] = { "three adjacent areas", 12, all_noise, false, NULL },
	[ISLAND] = { "island in no-access memory", 4, all_noise, true, NULL },
	[SHARED_ANON] = { "shared anonymous", 16, all_noise, false, NULL },
	[SHARED_MEMFD] = { "shared memfd", 16, every_third, false, NULL },
	[PRIVATE_FILE] = { "private file", 6, file_and_own, false, NULL },
	[MAIN_STACK] = { "main stack", STACK_PAGES, all_noise, true, NULL },
	[FIRST_WORKER_STACK] = { "first worker's stack", STACK_PAGES, all_noise, true, NULL },
	[FIRST_WORKER_STACK + 1] = { "second worker's stack", STACK_PAGES, all_noise, true, NULL },
};

/* The file that is mapped is the program itself. */
static const char mapped_file[] = "/proc/self/exe";

/* Who this process is among those that share pages after a fork: 0 before any fork, then each has its own number,
 * below 8, and has rewritten every eighth page of the copy-on-write areas. */
static unsigned writer;

/* ---- Bytes ---- */

static unsigned page_writer(const struct area *area, size_t page)
{
	return area->cow && page % 8 == writer ? writer : 0;
}

static void write_noise(const struct area *area, size_t page, unsigned char *bytes)
{
	const uint64_t id = (uint64_t)(area - areas);
	uint64_t state = mix((id << 40) | ((uint64_t)page_writer(area, page) << 32) | page);
	for (size_t at = 0; at < PAGE; at += sizeof state) {
		state += 0x9e3779b97f4a7c15u;
		const uint64_t word = mix(state);
		memcpy(bytes + at, &word, sizeof word);
	}
}

/* Fills the bytes that the page must hold; false if they can't be known. */
static bool expected_page(const struct area *area, size_t page, int file, unsigned char *bytes)
{
	memset(bytes, 0, PAGE);
	switch (area->content(page)) {
	case UNTOUCHED:
	case ZEROS:
		return true;
	case NOISE:
		write_noise(area, page, bytes);
		return true;
	case FROM_FILE:
		return pread(file, bytes, PAGE, (off_t)(page * PAGE)) == PAGE;
	}
	return false;
}

static void fill(enum area_id id, void *base)
{
	struct area *area = &areas[id];
	area->base = base;
	for (size_t page = 0; page < area->pages; page++) {
		const enum content content = area->content(page);
		if (content == NOISE)
			write_noise(area, page, area->base + page * PAGE);
		else if (content == ZEROS)
			memset(area->base + page * PAGE, 0, PAGE);
	}
}

/* Compares every byte of every area and reports the areas that differ; returns how many do. */
static int verify_memory(const char *prefix)
{
	unsigned char expected[PAGE];
	int corrupt = 0;
	const int file = open(mapped_file, O_RDONLY | O_CLOEXEC);

	for (const struct area *area = areas; area < areas + AREAS; area++) {
		size_t bad = 0, first = 0;
		for (size_t page = 0; page < area->pages; page++) {
			if (expected_page(area, page, file, expected) &&
			    memcmp(expected, area->base + page * PAGE, PAGE) == 0)
				continue;
			if (bad++ == 0)
				first = page;
		}
		if (bad == 0)
			continue;
		corrupt++;
		report("%sCORRUPT %s: %zu of %zu pages, the first is number %zu\n",
		       prefix, area->name, bad, area->pages, first);
	}
	close(file);
	return corrupt;
}

/* ---- Setting up ---- */

static unsigned char *map(size_t pages, int protection, int flags, int fd)
{
	unsigned char *base = mmap(NULL, pages * PAGE, protection, flags, fd, 0);
	need(base != MAP_FAILED, "mmap");
	return base;
}

static unsigned char *map_anonymous(size_t pages, int flags)
{
	return map(pages, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1);
}

static void build_memory(unsigned char *stack)
{
	const int writable = PROT_READ | PROT_WRITE;
	unsigned char *base;
	int fd;

	fill(DENSE, map_anonymous(areas[DENSE].pages, MAP_PRIVATE));
	fill(SPARSE, map_anonymous(areas[SPARSE].pages, MAP_PRIVATE));
	fill(WRITTEN_ZEROS, map_anonymous(areas[WRITTEN_ZEROS].pages, MAP_PRIVATE));

	/* Small enough for malloc to take it from the heap and not from a mapping. */
	base = aligned_alloc(PAGE, areas[HEAP].pages * PAGE);
	need(base != NULL, "aligned_alloc");
	fill(HEAP, base);

	fill(LOCKED, map_anonymous(areas[LOCKED].pages, MAP_PRIVATE | MAP_LOCKED));

	base = map_anonymous(areas[READ_ONLY].pages, MAP_PRIVATE);
	fill(READ_ONLY, base);
	need(mprotect(base, areas[READ_ONLY].pages * PAGE, PROT_READ) == 0, "mprotect");

	/* CRIU merges the pages of neighbours into one pagemap entry: entries don't end where areas end. */
	base = map_anonymous(areas[THREE_VMAS].pages, MAP_PRIVATE);
	fill(THREE_VMAS, base);
	need(mprotect(base + 4 * PAGE, 4 * PAGE, PROT_READ) == 0, "mprotect");

	base = map(16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1) + 4 * PAGE;
	need(mprotect(base, areas[ISLAND].pages * PAGE, writable) == 0, "mprotect");
	fill(ISLAND, base);

	fill(SHARED_ANON, map_anonymous(areas[SHARED_ANON].pages, MAP_SHARED));

	fd = memfd_create("pagepipe-e2e", 0);
	need(fd >= 0 && ftruncate(fd, (off_t)(areas[SHARED_MEMFD].pages * PAGE)) == 0, "memfd");
	fill(SHARED_MEMFD, map(areas[SHARED_MEMFD].pages, writable, MAP_SHARED, fd));
	close(fd);

	fd = open(mapped_file, O_RDONLY);
	need(fd >= 0, mapped_file);
	fill(PRIVATE_FILE, map(areas[PRIVATE_FILE].pages, writable, MAP_PRIVATE, fd));
	close(fd);

	fill(MAIN_STACK, stack);
}

/* ---- Threads ---- */

static pthread_t workers[WORKERS];
static sem_t worker_filled, worker_may_end;

/* A worker answers with a number that went through the dump in its registers or on its stack. */
static void *worker_answer(intptr_t number)
{
	return (void *)(number * 1000 + 17);
}

static void *worker(void *argument)
{
	PAGE_ALIGNED unsigned char stack[STACK_PAGES * PAGE];
	const intptr_t number = (intptr_t)argument;

	fill((enum area_id)(FIRST_WORKER_STACK + number), stack);
	sem_post(&worker_filled);
	while (sem_wait(&worker_may_end) != 0)
		; /* a signal or the freezer woke it */
	return worker_answer(number);
}

static void start_workers(void)
{
	need(sem_init(&worker_filled, 0, 0) == 0 && sem_init(&worker_may_end, 0, 0) == 0, "sem_init");
	for (intptr_t number = 0; number < WORKERS; number++)
		need(pthread_create(&workers[number], NULL, worker, (void *)number) == 0, "pthread_create");
	for (int i = 0; i < WORKERS; i++)
		while (sem_wait(&worker_filled) != 0)
			;
}

static int end_workers(void)
{
	int corrupt = 0;
	for (int i = 0; i < WORKERS; i++)
		sem_post(&worker_may_end);
	for (intptr_t number = 0; number < WORKERS; number++) {
		void *answer = NULL;
		pthread_join(workers[number], &answer);
		if (answer == worker_answer(number))
			continue;
		report("CORRUPT worker %d: wrong answer\n", (int)number);
		corrupt++;
	}
	return corrupt;
}

#endif
