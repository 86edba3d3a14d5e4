/** What the package exports, by name, and that a program can name every type that it meets in a signature. */
import { describe, expect, it } from 'vitest';
import { exportsOf, mentionedBy } from './helpers/declarations.js';

/** The types of image entries, which are made from proto/, are not listed. */
const EXPORTS: Record<string, string> = {
  index: `
    AddressSpace AddressSpaceOptions Amount ArchiveHeader AreaData AreaPages AreaTable AreasData AreasRecord
    ByteSource BytesRecord CheckRecord CheckpointImage ClassifyOptions CompressedBlocks Compression DROP_LAZY
    DecodeBlock DescriptorsData Dump DumpEntry DumpError DumpErrorCode DumpFiles DumpOptions DumpOrigin DumpRecord
    DumpSource EndRecord ErrorPlace ExtentsRecord FaultList FaultListParser FileBegin FileData FileEvent
    FileEvents FilePlace FileRecord FileStat FilterOptions Finding FindingCode FindingPlace HOLES HeaderRecord Holes
    ImageBlob KINDS KeepOptions Kind KindTally KnownDump MemoryBudget OpenDump OpenDumpOptions PAGE_SIZES
    POLICIES PageSpan PagesData PayloadFile PayloadRecord Policy ProcessData RUN_BITS ReadableFiles RecordSink
    RecordSource RunBatch RunBuilder RunCursor RunDetail RunPart RunTable RunsRecord S3Settings Selection Severity SizeSink Slice
    SourceKind SourceOptions Space SpaceRecord SpaceTally SplitOptions Stage StageOutput StoredAt SummedBlocks Sums TableSpan
    Task TemplateOptions TemplateTask UntemplateOptions Verdict VerifyOptions WaitingBytes WantedPages classify exploreAreas exploreDescriptors explorePages exploreProcesses filter
    hasPayload isPayload keepEager merge openDump openDumpFiles pump quickFindings rebuild split tally template untemplate verify
  `,
  containers: `
    ArchiveOptions BytePlace DirectoryOutput FilesOutput ImageOptions Place PlaceOptions Written
    decodePageStream directorySink encodePageStream ociSink pageStream pageStreamSink readPageStream shardSink
    sinkStream sourceStream tarSink
  `,
  images: `
    DecodeOptions EncodeOptions ImagePart ImageStart ImageType JsonOptions MAGIC MessageName MessagePart
    MessagesIn PayloadBytesPart PayloadEndPart PayloadPart decodeImage encodeImage imageToJson jsonToImage
    typeOfMagic typeOfName
  `,
  inspect: `
    AddressRange AreaPlace AreaState ContainerData ContainerMount Content ContentTotals CoreReport Counts
    CredentialsData DescriptorData DiffOptions DumpChange DumpData ExtractOptions ExtractReport ExtractState
    FieldChange Gap ImageChange InspectOptions Inspection KindAmounts KindTotals MapArea MapLimits MapOptions MapPage
    MapSpace MapTotals MemoryAmounts MemoryArea MemoryAreas MemoryChange MemoryData MemoryMap MemoryPiece
    MemorySelection MemorySpan MemoryState MountData NamespaceData OpenFile OutsideFile PageCounts Pattern PluginData
    ProcessDetails ProcessFiles ProcessMemory SECRET_KINDS SECTIONS SearchHit SearchOptions SecretHit Section
    SegmentData SegmentHit SegmentMemory SignalsData SocketData State TaskHit TaskMemories TaskMemoriesOptions TaskMemory TerminalOptions
    TextsData WriteCoreOptions diffDumps extractMemory htmlMap inspectDump memoryMap searchMemory searchSecrets svgMap
    terminalMap writeCore writeCores
  `,
  serve: `
    Address ClientEnd DumpMemory DumpMemoryOptions LazyPages LazyPagesOptions LazyRestore Message ParentDump
    ReceiveDumpOptions ReceiveOptions ReceivedStats RestoreSummary Serve ServeClientOptions ServeRestoresOptions
    ServerOptions SessionObserver TlsFiles listen openLazyPages openMemory parentDump readTlsFiles receiveDump serveClient
  `,
};

const key = ({ file, name }: { file: string; name: string }): string => `${file} ${name}`;

describe('the package', () => {
  it.each(Object.keys(EXPORTS))('exports these names from %s', (entry) => {
    const own = [...exportsOf(entry)].filter(([, { file }]) => !file.startsWith('generated/'));
    expect(own.map(([name]) => name).sort()).toEqual(EXPORTS[entry]?.trim().split(/\s+/));
  });

  it('exports each name from one entry point', () => {
    const all = Object.keys(EXPORTS).flatMap((entry) => [...exportsOf(entry).keys()]);
    expect(all.filter((name, i) => all.indexOf(name) !== i)).toEqual([]);
  });

  it('exports every type that its signatures mention', () => {
    const origins = Object.keys(EXPORTS).flatMap((entry) => [...exportsOf(entry).values()]);
    const exported = new Set(origins.map(key));
    const missing = origins.flatMap((origin) =>
      mentionedBy(origin)
        .filter((other) => !exported.has(key(other)))
        .map((other) => `${origin.name}: ${key(other)}`),
    );
    expect(missing).toEqual([]);
  });
});
