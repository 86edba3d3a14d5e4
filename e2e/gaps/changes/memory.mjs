// Areas, pagemaps, pages, segments.
import { of, pagesOf, setPages, swap, tolerated, undetectable, whole } from './change.mjs';

const PAGE = 4096;
const PRIVATE = 2;
const isPlain = ({ status, flags }) => status === 513 && flags === 34;
/** An anonymous area in the middle, with pages in it: the largest that is written to. */
const anonymous = ({ vmas }) => vmas.filter((area) => isPlain(area) && area.prot === 3).at(-2);
const withBit = ({ vmas }, bit) => vmas.find(({ status }) => status & (1 << bit));
const mapped = ({ vmas }) => vmas.find(({ status, prot }) => status & (1 << 6) && prot === 3);
const remove = (mm, area) => void mm.vmas.splice(mm.vmas.indexOf(area), 1);
const run = (entries) => entries.find((entry) => entry.flags === 6 && pagesOf(entry) > 4);

export const memory = [
  ...of('mm-ROOT', {
    'two areas of a file in the other order': ([mm]) => swap(mm.vmas, 0, 1),
    'two anonymous areas in the other order': ([mm]) =>
      swap(mm.vmas, mm.vmas.indexOf(anonymous(mm)), mm.vmas.indexOf(anonymous(mm)) - 1),
    'areas overlap by a page': ([mm]) => void (mm.vmas[2].start -= PAGE),
    'an area with pages is missing': ([mm]) => remove(mm, anonymous(mm)),
    'the code is missing': ([mm]) => remove(mm, mm.vmas[1]),
    'no areas': ([mm]) => void (mm.vmas = []),
    'an area shorter than its pages': ([mm]) => void (anonymous(mm).end -= PAGE),
    'an area that begins after its first page': ([mm]) => void (anonymous(mm).start += PAGE),
    'an area that does not begin at a page': ([mm]) => void (anonymous(mm).start += 8),
    'an area that does not end at a page': ([mm]) => void (anonymous(mm).end -= 8),
    'an area without length': ([mm]) => {
      const area = mm.vmas.find(({ prot, status }) => prot === 0 && status === 513);
      area.end = area.start;
    },
    'an area whose end is before its start': ([mm]) => {
      const area = mm.vmas.find(({ prot, status }) => prot === 0 && status === 513);
      [area.start, area.end] = [area.end, area.start];
    },
    'an area beyond user space': ([mm]) => {
      mm.vmas.splice(-1, 0, { ...anonymous(mm), start: '140737488355328', end: '140737488359424' });
    },
    'a private area neither anonymous nor of a file': ([mm]) => void (anonymous(mm).status = 1),
    'an area with status 0 and pages': ([mm]) => void (anonymous(mm).status = 0),
    'an area of a file with status 0': ([mm]) => void (mapped(mm).status = 0),
    'an area both anonymous and of a file': ([mm]) => void (anonymous(mm).status |= 1 << 6),
    'an anonymous area that is said to be of a file': ([mm]) => void (anonymous(mm).status = 65),
    'a shared area that is not of a file': ([mm]) => void (withBit(mm, 14).status = 1),
    'an area neither private nor shared': ([mm]) => void (anonymous(mm).flags &= ~PRIVATE),
    'a private area with the flag of shared ones': ([mm]) => void (anonymous(mm).flags = 33),
    'an anonymous area without the flag': ([mm]) => void (anonymous(mm).flags = 2),
    'an area of a file with the flag of anonymous ones': ([mm]) => void (mapped(mm).flags |= 32),
    'an ordinary area that claims huge pages': ([mm]) => void (anonymous(mm).flags |= 0x40000),
    'locked memory without the flag': ([mm]) => void (mm.vmas.find(({ flags }) => flags & 0x2000).flags &= ~0x2000),
    'protection of an unknown kind': ([mm]) => void (anonymous(mm).prot = 0xff),
    'a stack that does not grow': ([mm]) => void (mm.vmas.find(({ flags }) => flags & 0x100).flags &= ~0x100),
    'advice of an unknown kind': ([mm]) => void (anonymous(mm).madv = '9223372036854775808'),
    'a mapped file that is not in the dump': ([mm]) => void (mapped(mm).shmid = 999),
    'a mapped file that is a pipe': ([mm], { PIPE }) => void (mapped(mm).shmid = PIPE),
    'a mapped file at no page': ([mm]) => void (mapped(mm).pgoff += 8),
    'a mapping beyond the end of its file': ([mm]) => void (mapped(mm).pgoff = 1 << 30),
    'a shared mapping of a file that is not in the dump': ([mm]) => void (withBit(mm, 14).shmid = 999),
    'a shared mapping beyond the end of its segment': ([mm]) => void (withBit(mm, 14).pgoff = PAGE * 100),
    'no vdso': ([mm]) => remove(mm, withBit(mm, 3)),
    'no vvar': ([mm]) => remove(mm, withBit(mm, 12)),
    'neither vdso nor vvar': ([mm]) => {
      remove(mm, withBit(mm, 3));
      remove(mm, withBit(mm, 12));
    },
    'no vsyscall': ([mm]) => remove(mm, withBit(mm, 2)),
    'the vdso as an ordinary area': ([mm]) => void (withBit(mm, 3).status = 513),
    'two vdsos': ([mm]) => void (anonymous(mm).status |= 1 << 3),
    'mm_start_code in no area': ([mm]) => void (mm.mm_start_code = PAGE),
    'mm_end_code before mm_start_code': ([mm]) => void (mm.mm_end_code = mm.mm_start_code - PAGE),
    'mm_start_data in no area': ([mm]) => void (mm.mm_start_data = PAGE),
    'mm_start_stack in no area': ([mm]) => void (mm.mm_start_stack = PAGE),
    'mm_brk in no area': ([mm]) => void (mm.mm_brk = '100000000000'),
    'mm_brk before mm_start_brk': ([mm]) => void (mm.mm_brk = mm.mm_start_brk - PAGE),
    'mm_start_brk in no area': ([mm]) => void (mm.mm_start_brk = PAGE),
    'mm_start_brk is 0': ([mm]) => void (mm.mm_start_brk = 0),
    'mm_arg_start in no area': ([mm]) => void (mm.mm_arg_start = PAGE),
    'mm_arg_end before mm_arg_start': ([mm]) => void (mm.mm_arg_end = mm.mm_arg_start - 8),
    'mm_env_start in no area': ([mm]) => void (mm.mm_env_start = PAGE),
    'mm_env_end in no area': ([mm]) => void (mm.mm_env_end = '100000000000'),
    'the program not in the dump': ([mm]) => void (mm.exe_file_id = 999),
    'the program a pipe': ([mm], { PIPE }) => void (mm.exe_file_id = PIPE),
    'the program a device': ([mm], { DEVICE }) => void (mm.exe_file_id = DEVICE),
    'no auxiliary vector': ([mm]) => void (mm.mm_saved_auxv = []),
    'half a pair in the auxiliary vector': ([mm]) => void mm.mm_saved_auxv.pop(),
    'an auxiliary vector that is too long': ([mm]) => void mm.mm_saved_auxv.push(...Array(200).fill(0)),
    'dumpable of an unknown kind': ([mm]) => void (mm.dumpable = 9),
  }),
  ...undetectable(
    of('mm-ROOT', {
      'an area without pages is missing': ([mm]) =>
        remove(
          mm,
          mm.vmas.find(({ prot, status }) => prot === 0 && status === 513),
        ),
      'an area that allows nothing and has pages': ([mm]) => void (anonymous(mm).prot = 0),
    }),
  ),
  ...of('pagemap-ROOT', {
    'entries in another order': (entries) => swap(entries, 2, 3),
    'an entry twice in the middle': (entries) => void entries.splice(3, 0, entries[3]),
    'an entry reaches into the next one': (entries) => void (entries[2].vaddr = entries[3].vaddr),
    'an entry in no area': (entries) => void (entries[1].vaddr = PAGE * 16),
    'an entry at no page': (entries) => void (run(entries).vaddr += 8),
    'an entry of no pages': (entries) => setPages(run(entries), 0),
    'an entry of more pages than its area': (entries) => setPages(entries.at(-1), pagesOf(entries.at(-1)) + 50),
    'an entry that is nowhere': (entries) => void (run(entries).flags = 0),
    'an entry that is lazy and nowhere': (entries) => void (run(entries).flags = 2),
    'an entry without flags': (entries) => void delete run(entries).flags,
    'a run of an anonymous area is missing': (entries) => entries.filter((entry) => entry !== run(entries)),
    'the pages of a segment': (entries) => void (entries[0].pages_id = 1),
    'a pages file that is not in the dump': (entries) => void (entries[0].pages_id = 999),
  }),
  ...whole('pages', {
    'a page too short': (dump) => dump.write('pages-PAGES', dump.read('pages-PAGES').subarray(0, -PAGE)),
    'half a page too short': (dump) => dump.write('pages-PAGES', dump.read('pages-PAGES').subarray(0, -PAGE / 2)),
  }),
  ...tolerated([
    ...of('mm-ROOT', {
      'an area twice': ([mm]) => void mm.vmas.splice(3, 0, mm.vmas[3]),
    }),
    ...of('pagemap-ROOT', {
      'an entry with an unknown flag': (entries) => void (run(entries).flags |= 64),
    }),
    ...whole('pages', {
      'a page too long': (dump) =>
        dump.write('pages-PAGES', Buffer.concat([dump.read('pages-PAGES'), Buffer.alloc(PAGE)])),
    }),
  ]),
  ...of('pagemap-shmem-SHMEM', {
    'pages beyond the end of the segment': (entries) => void (entries[1].vaddr = PAGE * 1000),
    'entries not at a page': (entries) => void (entries[1].vaddr += 8),
  }),
  ...of('memfd', {
    'a segment without pages': ([inode]) => void (inode.shmid = 998),
    'smaller than its pages': ([inode]) => void (inode.size = PAGE),
    'larger than its pages': ([inode]) => void (inode.size += PAGE),
    'of no size': ([inode]) => void (inode.size = 0),
    'two of one number': (entries) => void (entries[1].inode_id = entries[0].inode_id),
    'two with one segment': (entries) => void (entries[1].shmid = entries[0].shmid),
    'a name with a slash': ([inode]) => void (inode.name = 'a/b'),
    'a name that is too long': ([inode]) => void (inode.name = 'a'.repeat(300)),
    'seals of an unknown kind': ([inode]) => void (inode.seals = 0xffff),
  }),
];
