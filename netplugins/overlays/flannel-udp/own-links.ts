/** Behind which the data path gathers packets: see offload/gathering-link.ts. */
export const gatheringName = 'flannel0-gather';
/** Through which large packets go that arrived whole: see offload/tunnel-link.ts. */
export const tunnelName = 'flannel0-whole';
