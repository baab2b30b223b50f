#!/usr/bin/perl
# Runs in the guest of kills_test.py: writes over the slots of a file at random, each write answered by the disk and not
# flushed for a while, then syncs, and only then notes what it wrote.
#   kills_writer.pl write NUMBER FILE   until /run/kills/stop is there; notes in /run/kills/NUMBER, which is memory
#   kills_writer.pl verify NUMBER FILE  each slot must hold, whole, what was noted for it last
use strict;
use warnings;
use Fcntl qw(O_CREAT O_RDWR SEEK_SET);
use IO::Handle;

my ($SLOTS, $PIECES, $PIECE) = (64, 4, 4096);
my ($SYNC_FILE_RANGE, $WAIT_WRITE_WAIT) = (277, 7);
my ($task, $number, $path) = @ARGV;
my $notes = "/run/kills/$number";

sub content {
    my ($slot, $version) = @_;
    return join '', map { substr("$number $slot $version $_ " x $PIECE, 0, $PIECE) } 1 .. $PIECES;
}

sub put {
    my ($file, $slot, $version) = @_;
    sysseek($file, $slot * $PIECES * $PIECE, SEEK_SET) or die "seek: $!\n";
    my $done = syswrite($file, content($slot, $version));
    die "write: " . ($done // $!) . "\n" unless ($done // 0) == $PIECES * $PIECE;
    # To the disk, which answers, and no flush: what the daemon has taken must outlive it without one.
    my @range = ($slot * $PIECES * $PIECE, $PIECES * $PIECE);
    syscall($SYNC_FILE_RANGE, fileno $file, @range, $WAIT_WRITE_WAIT) == 0 or die "sync_file_range: $!\n";
    select undef, undef, undef, rand 0.05;
}

sub writer {
    my $file = shift;
    open my $log, '>>', $notes or die "$notes: $!\n";
    $log->autoflush(1);
    my $version = 0;
    # Blocks that are there already are written without the file system's journal, and so without its flushes.
    put($file, $_, 0) for 0 .. $SLOTS - 1;
    $file->sync or die "sync: $!\n";
    while (!-e '/run/kills/stop') {
        my %batch;
        $batch{int rand $SLOTS} = ++$version for 1 .. 1 + int rand 16;
        put($file, $_, $batch{$_}) for keys %batch;
        $file->sync or die "sync: $!\n";
        print {$log} join('', map { "$_ $batch{$_}\n" } keys %batch);
    }
}

sub verify {
    my $file = shift;
    my (%last, $wrong);
    open my $log, '<', $notes or die "$notes: $!\n";
    while (<$log>) { $last{$1} = $2 if /^(\d+) (\d+)$/ }
    for my $slot (sort keys %last) {
        sysseek($file, $slot * $PIECES * $PIECE, SEEK_SET);
        sysread($file, my $found, $PIECES * $PIECE);
        next if $found eq content($slot, $last{$slot});
        $wrong = 1;
        print "writer $number: slot $slot holds '", substr($found, 0, 24), "', not version $last{$slot}\n";
    }
    exit 1 if $wrong;
    print "$number: ", scalar(keys %last), " slots\n";
}

sysopen my $file, $path, O_CREAT | O_RDWR or die "$path: $!\n";
$task eq 'write' ? writer($file) : verify($file);
