/** The link behind which the data path gathers packets: see offload/gathering-link.ts. */
export const gatheringName = 'flannel0-gather';
