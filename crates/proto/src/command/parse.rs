//! From a text on the device to its command.

use super::{
    Argument, BindMode, Command, CommandError, CullName, Limit, NumberError, OpenAnswer, text,
};
use crate::key::VALIDATOR_BYTES_MAX;
use crate::{Errno, MessageId};
use alloc::vec::Vec;
use core::num::NonZeroU32;

impl Command {
    /// The command of this text: up to the first newline, if there is one.
    ///
    /// # Errors
    /// [`CommandError`], the first that the kernel would find ([`CommandError::errno`] is its number):
    /// no text of a command, an unknown word, a missing or malformed argument.
    pub fn parse(text: &[u8]) -> Result<Self, CommandError> {
        let (word, argument) = text::split(text)?;
        let missing = |word| CommandError::Argument(word);
        let free = || Argument::new(argument);
        let name = || CullName::new(argument);
        match word {
            b"bind" => parse_bind(argument),
            b"copen" => parse_copen(argument),
            b"restore" => Ok(Self::Restore),
            b"credit" => parse_credit(argument).ok_or(missing("credit")),
            b"cull" => name().map(Self::Cull).ok_or(missing("cull")),
            b"inuse" => name().map(Self::InUse).ok_or(missing("inuse")),
            b"dir" => free().map(Self::Dir).ok_or(missing("dir")),
            b"tag" => free().map(Self::Tag).ok_or(missing("tag")),
            b"secctx" => free().map(Self::SecurityContext).ok_or(missing("secctx")),
            b"debug" => parse_debug(argument).ok_or(missing("debug")),
            other => parse_limit(other, argument),
        }
    }
}

fn parse_bind(argument: &[u8]) -> Result<Command, CommandError> {
    match argument {
        b"" => Ok(Command::Bind(BindMode::Cache)),
        b"ondemand" => Ok(Command::Bind(BindMode::OnDemand)),
        _ => Err(CommandError::BindArgument),
    }
}

fn parse_credit(argument: &[u8]) -> Option<Command> {
    let credits = u32::try_from(text::decimal(argument).ok()?).ok()?;
    NonZeroU32::new(credits).map(Command::Credit)
}

fn parse_debug(argument: &[u8]) -> Option<Command> {
    let (mask, rest) = text::leading_unsigned(argument);
    rest.is_empty().then_some(Command::Debug(mask))
}

fn parse_limit(word: &[u8], argument: &[u8]) -> Result<Command, CommandError> {
    let limit = Limit::ALL
        .into_iter()
        .find(|limit| limit.word().as_bytes() == word)
        .ok_or(CommandError::UnknownCommand)?;
    let percent = argument
        .strip_suffix(b"%")
        .and_then(|digits| text::decimal(digits).ok())
        .and_then(|percent| u8::try_from(percent).ok())
        .filter(|percent| *percent < 100)
        .ok_or(CommandError::Argument(limit.word()))?;
    Ok(Command::Limit { limit, percent })
}

fn parse_copen(argument: &[u8]) -> Result<Command, CommandError> {
    let invalid = CommandError::CopenId(NumberError::Invalid);
    let comma = argument
        .iter()
        .position(|byte| *byte == b',')
        .ok_or(invalid)?;
    let (id, answer) = (&argument[..comma], &argument[comma + 1..]);
    let id = text::unsigned(id).map_err(CommandError::CopenId)?;
    // The kernel takes any 64-bit id and then finds no such request.
    let msg_id = MessageId(u32::try_from(id).map_err(|_| invalid)?);
    let answer =
        parse_answer(answer).map_err(|error| CommandError::CopenAnswer { msg_id, error })?;
    Ok(Command::Copen { msg_id, answer })
}

fn parse_answer(answer: &[u8]) -> Result<Result<OpenAnswer, Errno>, NumberError> {
    let (size, validator) = split_validator(answer);
    let size = text::signed(size)?;
    let validator = validator.map(parse_validator).transpose()?;
    if let Ok(size) = u64::try_from(size) {
        return Ok(Ok(OpenAnswer { size, validator }));
    }
    let errno = size
        .checked_neg()
        .and_then(|number| i32::try_from(number).ok());
    match (errno.and_then(Errno::new), validator) {
        (Some(errno), None) => Ok(Err(errno)),
        (Some(_), Some(_)) | (None, _) => Err(NumberError::Invalid),
    }
}

/// Cuts the extension off; any other text behind the size stays, and is refused with it as the kernel does.
fn split_validator(answer: &[u8]) -> (&[u8], Option<&[u8]>) {
    const NAME: &[u8] = b" validator=";
    let space = answer
        .iter()
        .position(|byte| *byte == b' ')
        .unwrap_or(answer.len());
    let (size, rest) = answer.split_at(space);
    match rest.strip_prefix(NAME) {
        Some(validator) => (size, Some(validator)),
        None => (answer, None),
    }
}

fn parse_validator(digits: &[u8]) -> Result<Vec<u8>, NumberError> {
    let too_long = digits.len() > 2 * VALIDATOR_BYTES_MAX;
    // One spelling only, so that equal validators are equal texts.
    if too_long || digits.iter().any(u8::is_ascii_uppercase) {
        return Err(NumberError::Invalid);
    }
    hex::decode(digits).map_err(|_| NumberError::Invalid)
}
