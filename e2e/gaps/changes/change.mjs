// What a change of a dump is: { image, what, apply, undetectable, tolerated }. `apply` changes the copy that it is given.

/** Changes of the entries of one image: what is changed, to a function of the entries and of the names in the dump. */
export const of = (image, changes) =>
  Object.entries(changes).map(([what, change]) => ({ image, what, apply: (dump) => dump.edit(image, change) }));

/** Changes of files as such, or of several images. */
export const whole = (image, changes) => Object.entries(changes).map(([what, apply]) => ({ image, what, apply }));

/** Changes that leave a sound dump, of another process or for another machine. verify cannot find them. */
export const undetectable = (changes) => changes.map((change) => ({ ...change, undetectable: true }));

/** Damage that CRIU tolerates. verify may call it an error. */
export const tolerated = (changes) => changes.map((change) => ({ ...change, tolerated: true }));

export function swap(list, i, j) {
  [list[i], list[j]] = [list[j], list[i]];
}

/** The first entry of files.img with this type. */
export const fileOf = (entries, type, test = () => true) => entries.find((entry) => entry.type === type && test(entry));

export const without = (entries, gone) => entries.filter((entry) => entry !== gone);

/** Counts of pages are in another field since CRIU 4.2. */
export const pagesOf = (entry) => Number(entry.nr_pages ?? entry.compat_nr_pages);

export function setPages(entry, pages) {
  entry[entry.nr_pages === undefined ? 'compat_nr_pages' : 'nr_pages'] = pages;
}
