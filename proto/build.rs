//! Generates the messages from the .proto files without a system `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "baton/relay/v1/relay.proto",
        "baton/channel/v1/channel.proto",
        "baton/channel/v1/ticket.proto",
        "baton/exec/v1/exec.proto",
        "baton/metadata/v1/metadata.proto",
        "baton/warm/v1/warm.proto",
        "baton/files/v1/files.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed=proto/{file}");
    }
    let mut descriptors = protox::compile(files, ["proto"])?;
    let (exec, others) = descriptors
        .file
        .into_iter()
        .partition(|file| file.package() == "baton.exec.v1");
    descriptors.file = exec;
    let mut config = prost_build::Config::new();
    config.bytes(["."]).compile_fds(descriptors.clone())?;
    // Other packages use types of `baton.exec.v1`, which the crate has at this path.
    descriptors.file = others;
    config
        .extern_path(".baton.exec.v1", "crate::exec")
        .compile_fds(descriptors)?;
    Ok(())
}
