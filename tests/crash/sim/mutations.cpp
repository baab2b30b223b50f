#include "mutations.h"

#include <array>

namespace coppice::sim {

namespace {

constexpr auto kAll = std::to_array<NamedMutation>({
    {Mutation::kNoQuarantine, "no-quarantine"},
    {Mutation::kQuarantineIgnoresReads, "quarantine-ignores-reads"},
    {Mutation::kInPlaceUnproven, "in-place-unproven"},
    {Mutation::kInPlaceOlderBirth, "in-place-older-birth"},
    {Mutation::kStrictIgnored, "strict-ignored"},
    {Mutation::kDeadNodesDontCount, "dead-nodes-dont-count"},
    {Mutation::kNoSuperseded, "no-superseded"},
    {Mutation::kUnmarkedGranule, "unmarked-granule"},
    {Mutation::kSlabNamedLate, "slab-named-late"},
    {Mutation::kPunchUnproven, "punch-unproven"},
    {Mutation::kStageBeforeData, "stage-before-data"},
    {Mutation::kGroupInTurn, "group-in-turn"},
    {Mutation::kSnapshotDoesNotWait, "snapshot-does-not-wait"},
    {Mutation::kEpochOfThePlan, "epoch-of-the-plan"},
    {Mutation::kLeafOfTwoEpochs, "leaf-of-two-epochs"},
    {Mutation::kRacingReadFails, "racing-read-fails"},
    {Mutation::kJournalBeforeData, "journal-before-data"},
    {Mutation::kJournalNotSynced, "journal-not-synced"},
    {Mutation::kReleaseBeforeBatch, "release-before-batch"},
    {Mutation::kEarlyCalledDurable, "early-called-durable"},
    {Mutation::kEarlyDataUnsynced, "early-data-unsynced"},
    {Mutation::kEarlyWithoutSlot, "early-without-slot"},
    {Mutation::kEarlyNotAwaited, "early-not-awaited"},
    {Mutation::kProvenWhenDurable, "proven-when-durable"},
    {Mutation::kVerbUncommitted, "verb-uncommitted"},
    {Mutation::kBaseLetGoEarly, "base-let-go-early"},
    {Mutation::kReclaimUncommitted, "reclaim-uncommitted"},
    {Mutation::kMarkTakenLate, "mark-taken-late"},
    {Mutation::kMarkClearedEarly, "mark-cleared-early"},
    {Mutation::kPagesAheadOfJournal, "pages-ahead-of-journal"},
    {Mutation::kMapAheadOfJournal, "map-ahead-of-journal"},
    {Mutation::kAppliedFirst, "applied-first"},
    {Mutation::kAppliedNotSynced, "applied-not-synced"},
    {Mutation::kPagesNotSynced, "pages-not-synced"},
    {Mutation::kTrimEarly, "trim-early"},
    {Mutation::kDeletedEarly, "deleted-early"},
    {Mutation::kCopyNotSynced, "copy-not-synced"},
    {Mutation::kCopyBehindStart, "copy-behind-start"},
    {Mutation::kCopySegmentUnnamed, "copy-segment-unnamed"},
    {Mutation::kCopyUnquiet, "copy-unquiet"},
    {Mutation::kCopySwitchedEarly, "copy-switched-early"},
    {Mutation::kCopyFreedEarly, "copy-freed-early"},
    {Mutation::kCopyDroppedLate, "copy-dropped-late"},
    {Mutation::kCopyTrustsUnsynced, "copy-trusts-unsynced"},
    {Mutation::kCopyRestoredUnsynced, "copy-restored-unsynced"},
    {Mutation::kCopyNotKept, "copy-not-kept"},
    {Mutation::kRedoFreesAtOnce, "redo-frees-at-once"},
    {Mutation::kZeroesForgetBase, "zeroes-forget-base"},
    {Mutation::kEpochNotNoted, "epoch-not-noted"},
    {Mutation::kSlotsNotSettled, "slots-not-settled"},
    {Mutation::kTailNotReplayed, "tail-not-replayed"},
    {Mutation::kTailNotJournaled, "tail-not-journaled"},
    {Mutation::kRecoveryMapFirst, "recovery-map-first"},
    {Mutation::kRecoveryTrustsUnsynced, "recovery-trusts-unsynced"},
    {Mutation::kSuperblocksTrusted, "superblocks-trusted"},
    {Mutation::kRecoveryFailsQuietly, "recovery-fails-quietly"},
    {Mutation::kSuspectsClearedEarly, "suspects-cleared-early"},
    {Mutation::kMarksForgotten, "marks-forgotten"},
    {Mutation::kNoWriteBack, "no-write-back"},
    {Mutation::kTailNotVerified, "tail-not-verified"},
    {Mutation::kSnapshotOverLost, "snapshot-over-lost"},
    {Mutation::kLostFreesForgotten, "lost-frees-forgotten"},
    {Mutation::kLostFreesAnywhere, "lost-frees-anywhere"},
    {Mutation::kSweepNotResumed, "sweep-not-resumed"},
    {Mutation::kReclaimedStaysCharged, "reclaimed-stays-charged"},
    {Mutation::kAdmittedForgotten, "admitted-forgotten"},
    {Mutation::kScheduleNotedFirst, "schedule-noted-first"},
    {Mutation::kSettledEarly, "settled-early"},
    {Mutation::kSweptUnpinned, "swept-unpinned"},
    {Mutation::kPurgeBehindVerbs, "purge-behind-verbs"},
    {Mutation::kFenceUncommitted, "fence-uncommitted"},
    {Mutation::kBookmarkHoldsNothing, "bookmark-holds-nothing"},
    {Mutation::kCursorApart, "cursor-apart"},
});

}  // namespace

std::span<const NamedMutation> all_mutations() {
  return kAll;
}

}  // namespace coppice::sim
