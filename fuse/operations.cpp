#include "fuse/operations.h"

#include <fcntl.h>

#include <cerrno>

#include "fuse/session.h"

#define FUSE_USE_VERSION 35
#include <fuse3/fuse_lowlevel.h>

namespace coppice::fuse {

namespace {

// The kernel holds back what is asked asynchronously beyond that.
constexpr unsigned kMostInBackground = 256;

struct Calls {
  static Session& session_of(fuse_req_t request) {
    return *static_cast<Session*>(fuse_req_userdata(request));
  }
  static FileSystem& files_of(fuse_req_t request) { return session_of(request).file_system(); }
  static void start(fuse_req_t request, Task<void> operation) {
    session_of(request).start(std::move(operation));
  }

  static void init(void*, fuse_conn_info* connection) {
    // No cache of writes: what was written is with the engine. No splice: data is read where it is used.
    connection->want = connection->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO |
                                              FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS);
    connection->max_write = kMostRequestBytes;
    connection->max_background = kMostInBackground;
    connection->congestion_threshold = kMostInBackground;
  }

  static void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
    start(request, files_of(request).lookup(Reply(request), parent, name));
  }
  static void forget(fuse_req_t request, fuse_ino_t, std::uint64_t) { fuse_reply_none(request); }
  static void forget_multi(fuse_req_t request, std::size_t, fuse_forget_data*) { fuse_reply_none(request); }
  static void getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
    start(request, files_of(request).get_attributes(Reply(request), inode));
  }
  static void setattr(fuse_req_t request, fuse_ino_t inode, struct stat* attributes, int set,
                      fuse_file_info*) {
    const FileSystem::Changes changes{
        .owner_or_mode = (set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0,
        .size = (set & FUSE_SET_ATTR_SIZE) != 0,
        .size_bytes = static_cast<std::uint64_t>(attributes->st_size)};
    start(request, files_of(request).set_attributes(Reply(request), inode, changes));
  }
  static void readlink(fuse_req_t request, fuse_ino_t inode) {
    start(request, files_of(request).read_link(Reply(request), inode));
  }
  static void opendir(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
    start(request, files_of(request).open_directory(Reply(request), inode));
  }
  static void readdir(fuse_req_t request, fuse_ino_t inode, std::size_t size, off_t offset,
                      fuse_file_info* file) {
    start(request, files_of(request).read_directory(Reply(request), inode, file->fh,
                                                    static_cast<std::uint64_t>(offset), size));
  }
  static void releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
    files_of(request).close_directory(Reply(request), file->fh);
  }
  static void statfs(fuse_req_t request, fuse_ino_t) {
    start(request, files_of(request).file_system_figures(Reply(request)));
  }

  static void open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
    start(request, files_of(request).open(Reply(request), inode, file->flags));
  }
  static void release(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
    start(request, files_of(request).close(Reply(request), file->fh));
  }
  static void read(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset, fuse_file_info* file) {
    start(request,
          files_of(request).read(Reply(request), file->fh, static_cast<std::uint64_t>(offset), size));
  }
  static void write(fuse_req_t request, fuse_ino_t, const char* bytes, std::size_t size, off_t offset,
                    fuse_file_info* file) {
    const bool durable = (file->flags & (O_SYNC | O_DSYNC)) != 0;
    Payload payload = session_of(request).take_payload(bytes, size);
    start(request, files_of(request).write(Reply(request), file->fh, static_cast<std::uint64_t>(offset),
                                           std::move(payload), durable));
  }
  static void flush(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
    start(request, files_of(request).flush(Reply(request), file->fh, true));
  }
  static void fsync(fuse_req_t request, fuse_ino_t, int, fuse_file_info* file) {
    start(request, files_of(request).flush(Reply(request), file->fh, false));
  }
  static void fsyncdir(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) { fuse_reply_err(request, 0); }
  static void fallocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length,
                        fuse_file_info* file) {
    start(request,
          files_of(request).allocate(Reply(request), file->fh, mode, static_cast<std::uint64_t>(offset),
                                     static_cast<std::uint64_t>(length)));
  }
  static void lseek(fuse_req_t request, fuse_ino_t, off_t offset, int whence, fuse_file_info* file) {
    const Seek what = whence == SEEK_DATA ? Seek::kData : Seek::kHole;
    start(request,
          files_of(request).find(Reply(request), file->fh, static_cast<std::uint64_t>(offset), what));
  }
  static void copy_file_range(fuse_req_t request, fuse_ino_t, off_t from, fuse_file_info* source, fuse_ino_t,
                              off_t to, fuse_file_info* target, std::size_t length, int) {
    start(request, files_of(request).copy(Reply(request), {source->fh, static_cast<std::uint64_t>(from)},
                                          {target->fh, static_cast<std::uint64_t>(to)}, length));
  }

  // Disks and snapshots are made by the verbs.
  static void refuse(fuse_req_t request) { fuse_reply_err(request, EPERM); }
  static void mknod(fuse_req_t request, fuse_ino_t, const char*, mode_t, dev_t) { refuse(request); }
  static void mkdir(fuse_req_t request, fuse_ino_t, const char*, mode_t) { refuse(request); }
  static void create(fuse_req_t request, fuse_ino_t, const char*, mode_t, fuse_file_info*) {
    refuse(request);
  }
  static void unlink(fuse_req_t request, fuse_ino_t, const char*) { refuse(request); }
  static void symlink(fuse_req_t request, const char*, fuse_ino_t, const char*) { refuse(request); }
  static void rename(fuse_req_t request, fuse_ino_t, const char*, fuse_ino_t, const char*, unsigned) {
    refuse(request);
  }
  static void link(fuse_req_t request, fuse_ino_t, fuse_ino_t, const char*) { refuse(request); }
};

}  // namespace

void Operations::fill(fuse_lowlevel_ops& operations) {
  operations.init = Calls::init;
  operations.lookup = Calls::lookup;
  operations.forget = Calls::forget;
  operations.forget_multi = Calls::forget_multi;
  operations.getattr = Calls::getattr;
  operations.setattr = Calls::setattr;
  operations.readlink = Calls::readlink;
  operations.opendir = Calls::opendir;
  operations.readdir = Calls::readdir;
  operations.releasedir = Calls::releasedir;
  operations.statfs = Calls::statfs;
  operations.open = Calls::open;
  operations.release = Calls::release;
  operations.read = Calls::read;
  operations.write = Calls::write;
  operations.flush = Calls::flush;
  operations.fsync = Calls::fsync;
  operations.fsyncdir = Calls::fsyncdir;
  operations.fallocate = Calls::fallocate;
  operations.lseek = Calls::lseek;
  operations.copy_file_range = Calls::copy_file_range;
  operations.mknod = Calls::mknod;
  operations.mkdir = Calls::mkdir;
  operations.create = Calls::create;
  operations.unlink = operations.rmdir = Calls::unlink;
  operations.symlink = Calls::symlink;
  operations.rename = Calls::rename;
  operations.link = Calls::link;
}

}  // namespace coppice::fuse
