/** Files of a dump that are no images: what they are, and what reads them. */

interface RawKind {
  name: RegExp;
  what: string;
  hint: string;
}

/** Source: CRIU 4.2.1, image-desc.c: the entries without a magic. */
const RAW_KINDS: RawKind[] = [
  {
    name: /^pages-\d+\.img$/,
    what: 'bare memory pages, without a magic',
    hint: 'pagepipe decode -i on the pagemap of the same pages_id shows which page is where',
  },
  { name: /^tmpfs-(dev-)?\d+\.tar\.gz\.img$/, what: 'a tmpfs as a gzipped tar', hint: 'tar tzf lists what is in it' },
  {
    name: /^ifaddr-\d+\.img$/,
    what: 'addresses as `ip addr save` writes them',
    hint: 'ip address showdump reads it from stdin',
  },
  {
    name: /^route6?-\d+\.img$/,
    what: 'routes as `ip route save` writes them',
    hint: 'ip route showdump reads it from stdin',
  },
  { name: /^rule-\d+\.img$/, what: 'rules as `ip rule save` writes them', hint: 'ip rule restore reads it from stdin' },
  { name: /^ip6?tables-\d+\.img$/, what: 'text of iptables-save', hint: 'cat shows it, iptables-restore reads it' },
  { name: /^nftables-\d+\.img$/, what: 'text of `nft list ruleset`', hint: 'cat shows it, nft -f reads it' },
  { name: /^netns-(ct|exp)-\d+\.img$/, what: 'netlink messages of connection tracking', hint: 'only CRIU reads them' },
];

/** What to do if it is a compressed archive of a dump. */
const IN_ARCHIVE = 'of a dump in an archive, name the image as well: FILE inventory.img';

const BEGINNINGS: { magic: number; mask: number; what: string; hint: string }[] = [
  { magic: 0x8b1f, mask: 0xffff, what: 'gzip', hint: `${IN_ARCHIVE}; of a tmpfs image, tar tzf lists what is in it` },
  { magic: 0x2fb528, mask: 0xffffff, what: 'zstd', hint: IN_ARCHIVE },
  { magic: 0x7b, mask: 0xff, what: 'what may be JSON', hint: 'pagepipe encode turns JSON into an image' },
  { magic: 0x23, mask: 0xff, what: 'text', hint: 'iptables and nftables images are text: cat shows them' },
];

/** What a file without a magic is, by its name. */
export const rawKind = (name: string): Pick<RawKind, 'what' | 'hint'> | undefined =>
  RAW_KINDS.find((kind) => kind.name.test(name));

/** What a file may be that begins with this word, where its name does not tell. */
export const guessRaw = (word: number): { what: string; hint: string } | undefined =>
  BEGINNINGS.find(({ magic, mask }) => (word & mask) === magic);
