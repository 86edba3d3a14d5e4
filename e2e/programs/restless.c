/*
 * A program that does not wait for its pages: after the signal it reads, writes, moves, grows, shrinks, forgets, unmaps and
 * protects its memory, and forks, while the pages are still coming. It compares what it reads with what must be there, and
 * at the end all of its memory.
 *
 * The expected bytes follow from a number for each page. Where which page is, is noted only after the signal: it is not
 * part of the dump, and cannot be lost with the memory that it describes. The steps follow from a seed. What the kernel
 * refuses counts as not done: it does not move several areas as one, and the daemon that answers the faults may cut an
 * area into several.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "report.h"

#define AREAS 8
#define AREA_PAGES 8192
#define STEPS 2000
#define CHILD_STEPS 40
#define REGIONS 640
#define CHILDREN 4
#define GENERATIONS 2
#define THREADS 4
/* The steps may not unmap more than what leaves this much. */
#define LEAST_PAGES (AREAS * AREA_PAGES / 2)
#define ANYWHERE ((void *)0)

/* ---- What a page holds ---- */

#define ZEROS 0u

/* Before the signal. Some pages are never written, and some are written with zeros. */
static uint64_t first_number(size_t page)
{
	return page % 16 == 5 || page % 16 == 9 ? ZEROS : page + 1;
}

static bool is_untouched(size_t page)
{
	return page % 16 == 5;
}

static void fill(unsigned char *bytes, uint64_t number)
{
	if (number == ZEROS) {
		memset(bytes, 0, PAGE);
		return;
	}
	uint64_t state = mix(number);
	for (size_t at = 0; at < PAGE; at += sizeof state) {
		state += 0x9e3779b97f4a7c15u;
		const uint64_t word = mix(state);
		memcpy(bytes + at, &word, sizeof word);
	}
}

/* ---- The memory, and what must be in it ---- */

/* Pages one after the other with the same protection. A free slot has none. */
struct region {
	unsigned char *base;
	size_t pages;
	bool writable;
	uint64_t *numbers;
};

static unsigned char *areas[AREAS];
static struct region regions[REGIONS];
static size_t free_slots, all_pages;

/* Who this process is; part of the numbers of what it writes. */
static uint64_t process, last_process, written;
static int generation;
static uint64_t random_state;
static int corrupt;
static size_t refused;

static size_t chance(size_t below)
{
	random_state += 0x9e3779b97f4a7c15u;
	return (size_t)(mix(random_state) % below);
}

static void *allocate(size_t bytes)
{
	void *memory = calloc(1, bytes);
	need(memory != NULL, "calloc");
	return memory;
}

static int add_region(unsigned char *base, size_t pages, bool writable, uint64_t *numbers)
{
	for (int i = 0; i < REGIONS; i++) {
		if (regions[i].pages > 0)
			continue;
		regions[i] = (struct region){ base, pages, writable, numbers };
		free_slots--;
		return i;
	}
	need(false, "a free region");
	return -1;
}

static void remove_region(int i)
{
	all_pages -= regions[i].pages;
	regions[i].pages = 0;
	free_slots++;
}

/* Cuts a region; the tail becomes another one. */
static int split(int i, size_t at)
{
	struct region *region = &regions[i];
	const int tail = add_region(region->base + at * PAGE, region->pages - at, region->writable, region->numbers + at);
	region->pages = at;
	return tail;
}

struct range {
	int region;
	size_t first, count;
};

static int any_region(void)
{
	for (;;) {
		const int i = (int)chance(REGIONS);
		if (regions[i].pages > 0)
			return i;
	}
}

/* Mostly some pages, and sometimes up to all of a region. */
static struct range any_range(void)
{
	const int i = any_region();
	const size_t pages = regions[i].pages, first = chance(pages), rest = pages - first;
	const size_t most = chance(24) == 0 || rest < 64 ? rest : 64;
	return (struct range){ i, first, 1 + chance(most) };
}

/* Makes a range a region of its own. */
static int carve(struct range range)
{
	int i = range.region;
	if (range.first > 0)
		i = split(i, range.first);
	if (range.count < regions[i].pages)
		split(i, range.count);
	return i;
}

static void expect_zeros(struct range range)
{
	memset(regions[range.region].numbers + range.first, 0, range.count * sizeof(uint64_t));
}

static void expect(const unsigned char *found, const void *address, uint64_t number, const char *what)
{
	unsigned char expected[PAGE];
	fill(expected, number);
	if (memcmp(expected, found, PAGE) == 0)
		return;
	if (__atomic_fetch_add(&corrupt, 1, __ATOMIC_RELAXED) < 5)
		report("CORRUPT %s: process %d, page at %p, number %#lx\n", what, (int)process, address, (unsigned long)number);
}

static void check(struct range range, const char *what)
{
	const struct region *region = &regions[range.region];
	for (size_t page = range.first; page < range.first + range.count; page++)
		expect(region->base + page * PAGE, region->base + page * PAGE, region->numbers[page], what);
}

static void check_all(const char *what)
{
	for (int i = 0; i < REGIONS; i++)
		check((struct range){ i, 0, regions[i].pages }, what);
}

/* ---- Steps: reads and writes ---- */

static void read_range(struct range range)
{
	check(range, "read");
}

static void write_range(struct range range)
{
	struct region *region = &regions[range.region];
	for (size_t page = range.first; region->writable && page < range.first + range.count; page++) {
		region->numbers[page] = (process + 1) << 32 | ++written;
		fill(region->base + page * PAGE, region->numbers[page]);
	}
}

/* The first access writes one byte; the others must come nevertheless. */
static void write_bytes(struct range range)
{
	const struct region *region = &regions[range.region];
	if (!region->writable)
		return;
	for (size_t page = range.first; page < range.first + range.count; page++)
		region->base[page * PAGE + page % PAGE] ^= 0xff;
	for (size_t page = range.first; page < range.first + range.count; page++)
		region->base[page * PAGE + page % PAGE] ^= 0xff;
	check(range, "written bytes");
}

/* The kernel reads the memory. */
static void read_by_system_call(struct range range)
{
	const struct region *region = &regions[range.region];
	unsigned char found[PAGE];
	int ends[2];

	need(pipe(ends) == 0, "pipe");
	for (size_t page = range.first; page < range.first + range.count; page++) {
		const unsigned char *address = region->base + page * PAGE;
		if (write(ends[1], address, PAGE) != PAGE || read(ends[0], found, PAGE) != PAGE)
			memset(found, 0x55, PAGE);
		expect(found, address, region->numbers[page], "read by a system call");
	}
	close(ends[0]);
	close(ends[1]);
}

static pthread_barrier_t start;

static void *read_with_others(void *argument)
{
	const struct range range = *(struct range *)argument;
	for (size_t page = range.first; page < range.first + range.count; page++) {
		pthread_barrier_wait(&start);
		check((struct range){ range.region, page, 1 }, "read by several threads");
	}
	return NULL;
}

/* All threads read each page at the same time. */
static void read_by_threads(struct range range)
{
	pthread_t threads[THREADS];

	if (range.count > 16)
		range.count = 16;
	need(pthread_barrier_init(&start, NULL, THREADS) == 0, "barrier");
	for (int i = 0; i < THREADS; i++)
		need(pthread_create(&threads[i], NULL, read_with_others, &range) == 0, "pthread_create");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
}

/* ---- Steps: the layout ---- */

static void forget(struct range range)
{
	const struct region *region = &regions[range.region];
	if (madvise(region->base + range.first * PAGE, range.count * PAGE, MADV_DONTNEED) != 0)
		refused++;
	else
		expect_zeros(range);
	if (chance(2) == 0)
		check(range, "forgotten");
}

static void unmap(struct range range)
{
	if (all_pages < LEAST_PAGES + range.count)
		return;
	const int i = carve(range);
	need(munmap(regions[i].base, regions[i].pages * PAGE) == 0, "munmap");
	remove_region(i);
}

static void protect(struct range range)
{
	const int i = carve(range);
	struct region *region = &regions[i];
	region->writable = !region->writable;
	const int protection = region->writable ? PROT_READ | PROT_WRITE : PROT_READ;
	if (chance(3) == 0)
		need(mprotect(region->base, region->pages * PAGE, PROT_NONE) == 0, "mprotect");
	need(mprotect(region->base, region->pages * PAGE, protection) == 0, "mprotect");
}

static bool is_mapped(const unsigned char *page)
{
	unsigned char resident;
	return mincore((void *)page, PAGE, &resident) == 0;
}

/* Of several areas the kernel may move the first ones, and refuse the others. */
static void move_to(int i, unsigned char *to)
{
	struct region *region = &regions[i];
	const size_t bytes = region->pages * PAGE;
	size_t moved = region->pages;

	if (mremap(region->base, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
		refused++;
		for (moved = 0; moved < region->pages && !is_mapped(region->base + moved * PAGE); moved++)
			;
		need(munmap(to + moved * PAGE, bytes - moved * PAGE) == 0, "munmap");
	}
	if (moved == 0)
		return;
	if (moved < region->pages)
		split(i, moved);
	region->base = to;
	check((struct range){ i, 0, 1 + chance(moved) }, "moved");
}

static void move(struct range range)
{
	const int i = carve(range);
	void *to = mmap(ANYWHERE, range.count * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(to != MAP_FAILED, "mmap");
	move_to(i, to);
}

/* Over other memory, which is gone then. */
static void move_over(struct range range)
{
	const int i = carve(range);
	struct range other = { any_region(), 0, range.count };
	const size_t pages = regions[other.region].pages;

	if (other.region == i || pages < other.count || all_pages < LEAST_PAGES + other.count)
		return;
	other.first = chance(pages - other.count + 1);
	const int covered = carve(other);
	unsigned char *to = regions[covered].base;
	remove_region(covered);
	move_to(i, to);
}

/* The pages go elsewhere, and the old place has none. */
static void move_out(struct range range)
{
	const int i = carve(range);
	struct region *region = &regions[i];
	const size_t bytes = range.count * PAGE;
	unsigned char *to = mremap(region->base, bytes, bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);

	if (to == MAP_FAILED) {
		refused++;
		return;
	}
	add_region(to, range.count, region->writable, region->numbers);
	all_pages += range.count;
	region->numbers = allocate(range.count * sizeof(uint64_t));
	check((struct range){ i, 0, range.count }, "moved out");
}

static void grow(struct range range)
{
	const int i = carve(range);
	struct region *region = &regions[i];
	const size_t more = 1 + chance(32);
	unsigned char *to = mremap(region->base, range.count * PAGE, (range.count + more) * PAGE, MREMAP_MAYMOVE);

	if (to == MAP_FAILED) {
		refused++;
		return;
	}
	uint64_t *numbers = allocate((range.count + more) * sizeof *numbers);
	memcpy(numbers, region->numbers, range.count * sizeof *numbers);
	*region = (struct region){ to, range.count + more, region->writable, numbers };
	all_pages += more;
	check((struct range){ i, range.count, more }, "grown");
}

static void shrink(struct range range)
{
	const size_t less = chance(range.count);
	if (less == 0 || all_pages < LEAST_PAGES + less)
		return;
	const int i = carve(range);
	need(mremap(regions[i].base, range.count * PAGE, (range.count - less) * PAGE, 0) != MAP_FAILED, "mremap");
	remove_region(split(i, range.count - less));
}

/* ---- Steps: children ---- */

enum ending { WORKS, LEAVES, EXECS, IS_KILLED, ENDINGS };

struct child {
	pid_t pid;
	enum ending ending;
};

static struct child children[CHILDREN];

/* Without arguments this program exits at once. */
#define EXEC_CODE 2

static void reap(struct child *child)
{
	int status = 0;
	if (child->pid == 0)
		return;
	need(waitpid(child->pid, &status, 0) == child->pid, "waitpid");
	child->pid = 0;
	const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	if (child->ending == IS_KILLED || code == (child->ending == EXECS ? EXEC_CODE : 0))
		return;
	report("CORRUPT child: of kind %d, status %#x\n", (int)child->ending, (unsigned)status);
	corrupt++;
}

static void reap_all(void)
{
	for (int i = 0; i < CHILDREN; i++)
		reap(&children[i]);
}

static void some_steps(int count);

__attribute__((noreturn))
static void be_child(enum ending ending)
{
	memset(children, 0, sizeof children);
	process = last_process;
	generation++;
	random_state = mix(process);
	written = 0;
	if (ending == EXECS)
		execl("/proc/self/exe", "restless", (char *)NULL);
	while (ending == IS_KILLED)
		read_range(any_range());
	if (ending == WORKS) {
		some_steps(CHILD_STEPS);
		if (chance(4) == 0)
			check_all("child");
		reap_all();
	}
	_exit(corrupt ? 1 : 0);
}

static void have_child(struct range range)
{
	struct child *child = &children[chance(CHILDREN)];
	const enum ending ending = chance(2) ? WORKS : (enum ending)chance(ENDINGS);

	if (generation == GENERATIONS)
		return;
	reap(child);
	/* Grandchildren may have the number of a child. */
	last_process = process * 64 + (last_process + 1) % 64;
	child->ending = ending;
	child->pid = fork();
	need(child->pid >= 0, "fork");
	if (child->pid == 0)
		be_child(ending);
	/* Both have the pages until one of them writes. */
	write_range(range);
	if (ending == IS_KILLED)
		kill(child->pid, SIGKILL);
}

/* ---- All of it ---- */

static const struct {
	int weight;
	void (*take)(struct range range);
} steps[] = {
	{ 25, read_range }, { 10, write_range }, { 8, write_bytes }, { 6, read_by_system_call }, { 6, read_by_threads },
	{ 8, forget }, { 4, unmap }, { 6, protect }, { 7, move }, { 4, move_over }, { 4, move_out }, { 4, grow }, { 4, shrink },
	{ 2, have_child },
};

static void some_steps(int count)
{
	int weights = 0;
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
		weights += steps[i].weight;
	while (count-- > 0) {
		int left = (int)chance((size_t)weights);
		size_t i = 0;
		while ((left -= steps[i].weight) >= 0)
			i++;
		/* A step cuts at most two regions into three each. */
		if (free_slots > 8 || steps[i].take == read_range)
			steps[i].take(any_range());
	}
}

static void build(void)
{
	for (int i = 0; i < AREAS; i++) {
		areas[i] = mmap(ANYWHERE, AREA_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		need(areas[i] != MAP_FAILED, "mmap");
		for (size_t page = 0; page < AREA_PAGES; page++)
			if (!is_untouched(page))
				fill(areas[i] + page * PAGE, first_number((size_t)i * AREA_PAGES + page));
		/* Areas end in the middle of what is one piece in the dump. */
		need(mprotect(areas[i] + AREA_PAGES / 2 * PAGE, AREA_PAGES / 4 * PAGE, PROT_READ) == 0, "mprotect");
	}
}

static void note_regions(void)
{
	static const size_t ends[] = { 0, AREA_PAGES / 2, AREA_PAGES / 4 * 3, AREA_PAGES };

	free_slots = REGIONS;
	all_pages = AREAS * AREA_PAGES;
	for (size_t i = 0; i < AREAS; i++) {
		uint64_t *numbers = allocate(AREA_PAGES * sizeof *numbers);
		for (size_t page = 0; page < AREA_PAGES; page++)
			numbers[page] = first_number(i * AREA_PAGES + page);
		for (int part = 0; part < 3; part++)
			add_region(areas[i] + ends[part] * PAGE, ends[part + 1] - ends[part], part != 1, numbers + ends[part]);
	}
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	build();

	report("ready %d\n", (int)getpid());
	wait_for_signal();

	note_regions();
	some_steps(STEPS);
	check_all("at the end");
	reap_all();
	report("%d steps, %zu refused\n", STEPS, refused);
	return end(corrupt);
}
