//! The rows of the kernel's parsing: each test names what it tables.

use super::*;
use crate::ByteRange;
use crate::key::VALIDATOR_BYTES_MAX;
use proptest::prelude::*;
use std::string::ToString;
use std::vec;

fn copen(id: u32, answer: Result<OpenAnswer, Errno>) -> Command {
    Command::Copen {
        msg_id: MessageId(id),
        answer,
    }
}

fn copen_size(id: u32, size: u64) -> Command {
    copen(
        id,
        Ok(OpenAnswer {
            size,
            validator: None,
        }),
    )
}

fn errno_of(text: &[u8]) -> Errno {
    Command::parse(text)
        .expect_err(&text.escape_ascii().to_string())
        .errno()
}

#[test]
fn texts_are_refused_in_the_kernels_order() {
    let long = [b"bind ", &[b'x'; COMMAND_BYTES_MAX][..]].concat();
    let long_with_nul = [&long[..], b"\0"].concat();
    let table: &[(&[u8], Errno)] = &[
        (&long[..COMMAND_BYTES_MAX + 1], Errno::EOPNOTSUPP),
        (&long_with_nul, Errno::EOPNOTSUPP),
        (&long[..COMMAND_BYTES_MAX], Errno::EINVAL),
        (b"restore\0", Errno::EINVAL),
        (b"\0", Errno::EINVAL),
        (b"\n\0", Errno::EINVAL),
        (b"restore\n\0", Errno::EINVAL),
        (b"\n", Errno::EINVAL),
        (b"\nrestore", Errno::EINVAL),
        (b"", Errno::EOPNOTSUPP),
        (b" restore", Errno::EOPNOTSUPP),
        (b"\trestore", Errno::EOPNOTSUPP),
        (b"\xa0restore", Errno::EOPNOTSUPP),
        (b" \n", Errno::EOPNOTSUPP),
        (b"Restore", Errno::EOPNOTSUPP),
        (b"restored", Errno::EOPNOTSUPP),
        (b"restor", Errno::EOPNOTSUPP),
        (b"cread 1", Errno::EOPNOTSUPP),
        (b"\xff\xfe", Errno::EOPNOTSUPP),
    ];
    for (text, errno) in table {
        assert_eq!(errno_of(text), *errno, "{}", text.escape_ascii());
    }
}

#[test]
fn what_follows_the_first_newline_is_ignored() {
    for text in [
        &b"restore\n"[..],
        b"restore \nrubbish",
        b"restore\n\n",
        b"restore anything at all",
    ] {
        assert_eq!(Command::parse(text), Ok(Command::Restore));
    }
    assert_eq!(Command::parse(b"copen 1,2\n3"), Ok(copen_size(1, 2)));
}

#[test]
fn white_space_between_word_and_argument_is_skipped_and_after_it_counts() {
    for text in [
        &b"bind ondemand"[..],
        b"bind\tondemand",
        b"bind \x0b\x0c\r\xa0ondemand",
    ] {
        assert_eq!(Command::parse(text), Ok(Command::Bind(BindMode::OnDemand)));
    }
    assert_eq!(
        Command::parse(b"bind  "),
        Ok(Command::Bind(BindMode::Cache))
    );
    assert_eq!(
        Command::parse(b"bind ondemand "),
        Err(CommandError::BindArgument)
    );
    assert_eq!(errno_of(b"bind on"), Errno::EINVAL);
    assert_eq!(
        Command::parse(b"tag  a b "),
        Ok(Command::Tag(Argument::new(b"a b ").unwrap()))
    );
}

#[test]
fn arguments_of_the_cache_commands() {
    let argument = |bytes| Argument::new(bytes).unwrap();
    let limit = |limit, percent| Command::Limit { limit, percent };
    let accepted: Vec<(&[u8], Command)> = vec![
        (b"dir /var/cache", Command::Dir(argument(b"/var/cache"))),
        (b"secctx a:b", Command::SecurityContext(argument(b"a:b"))),
        (b"cull \xff", Command::Cull(CullName::new(b"\xff").unwrap())),
        (b"inuse Dx", Command::InUse(CullName::new(b"Dx").unwrap())),
        (b"brun 7%", limit(Limit::Brun, 7)),
        (b"bcull 05%", limit(Limit::Bcull, 5)),
        (b"bstop 0%", limit(Limit::Bstop, 0)),
        (b"frun 99%", limit(Limit::Frun, 99)),
        (b"fcull 5%", limit(Limit::Fcull, 5)),
        (b"fstop 1%", limit(Limit::Fstop, 1)),
        (b"debug", Command::Debug(0)),
        (b"debug 0x1F", Command::Debug(31)),
        (b"debug 017", Command::Debug(15)),
        (b"debug 18446744073709551616", Command::Debug(0)),
        (b"credit 1", Command::Credit(NonZeroU32::MIN)),
        (b"credit 4294967295", Command::Credit(NonZeroU32::MAX)),
    ];
    for (text, command) in accepted {
        assert_eq!(Command::parse(text), Ok(command), "{}", text.escape_ascii());
    }
    let refused = "dir|tag|secctx|cull|cull a/b|cull /|inuse|inuse ..//|brun|brun 7|brun %|brun 7%%|brun 7% |brun -7%|brun +7%|\
        frun 100%|frun 18446744073709551623%|debug 1x|debug -1|debug 08|debug 0x|credit|credit 0|credit -1|credit +1|\
        credit 0x1|credit 1 |credit 4294967296|credit 99999999999999999999";
    for text in refused.split('|') {
        assert_eq!(errno_of(text.as_bytes()), Errno::EINVAL, "{text}");
    }
}

/// Up to the id, a malformed `copen` touches no request.
#[test]
fn copen_ids_follow_kstrtoul_of_base_0() {
    for (id, number) in [
        ("0", 0),
        ("+7", 7),
        ("0x1f", 31),
        ("0X1F", 31),
        ("017", 15),
        ("00", 0),
        ("4294967295", u32::MAX),
    ] {
        let text = std::format!("copen {id},1");
        assert_eq!(
            Command::parse(text.as_bytes()),
            Ok(copen_size(number, 1)),
            "{text}"
        );
    }
    let refused = [
        "copen",
        "copen ",
        "copen 1",
        "copen ,1",
        "copen -1,1",
        "copen ++1,1",
        "copen 1 ,1",
        "copen 08,1",
        "copen 0x,1",
        "copen 0xg,1",
        "copen one,1",
        "copen +,1",
        "copen 4294967296,1",
        "copen 18446744073709551615,1",
        "copen 1.5,1",
    ];
    for text in refused {
        assert_eq!(
            Command::parse(text.as_bytes()),
            Err(CommandError::CopenId(NumberError::Invalid)),
            "{text}"
        );
        assert_eq!(errno_of(text.as_bytes()), Errno::EINVAL);
    }
    for text in [
        "copen 18446744073709551616,1",
        "copen 99999999999999999999x,1",
        "copen 0x10000000000000000,-5",
    ] {
        assert_eq!(
            Command::parse(text.as_bytes()),
            Err(CommandError::CopenId(NumberError::Range)),
            "{text}"
        );
        assert_eq!(errno_of(text.as_bytes()), Errno::ERANGE);
    }
}

#[test]
fn copen_sizes_and_errors() {
    let sizes = [
        ("0", 0),
        ("-0", 0),
        ("+5", 5),
        ("0x10", 16),
        ("010", 8),
        ("9223372036854775807", i64::MAX as u64),
    ];
    for (size, bytes) in sizes {
        let text = std::format!("copen 3,{size}");
        assert_eq!(
            Command::parse(text.as_bytes()),
            Ok(copen_size(3, bytes)),
            "{text}"
        );
    }
    for (size, errno) in [
        ("-1", 1),
        ("-116", 116),
        ("-4095", 4095),
        ("-0x74", 116),
        ("-010", 8),
    ] {
        let text = std::format!("copen 3,{size}");
        assert_eq!(
            Command::parse(text.as_bytes()),
            Ok(copen(3, Err(Errno::new(errno).unwrap()))),
            "{text}"
        );
    }
}

/// From the size on, a malformed `copen` fails the request that it names.
#[test]
fn a_malformed_answer_names_the_request_that_it_fails() {
    let invalid = [
        "",
        " ",
        " 5",
        "5 ",
        "5,6",
        "five",
        "-",
        "+",
        "-+5",
        "--5",
        "5x",
        "09",
        "-4096",
        "-9223372036854775808",
        "5 validator",
        "5  validator=00",
        "5 Validator=00",
        "5 validator=0",
        "5 validator=zz",
        "5 validator=AB",
        "5 validator=00 ",
        "5 validator=00,1",
        "-5 validator=00",
        " validator=00",
        "5\tvalidator=00",
    ];
    for answer in invalid {
        let text = std::format!("copen 9,{answer}");
        let expected = CommandError::CopenAnswer {
            msg_id: MessageId(9),
            error: NumberError::Invalid,
        };
        assert_eq!(Command::parse(text.as_bytes()), Err(expected), "{text}");
        assert_eq!(errno_of(text.as_bytes()), Errno::EINVAL);
    }
    for answer in [
        "9223372036854775808",
        "18446744073709551616",
        "-9223372036854775809",
        "-99999999999999999999",
    ] {
        let text = std::format!("copen 9,{answer}");
        let expected = CommandError::CopenAnswer {
            msg_id: MessageId(9),
            error: NumberError::Range,
        };
        assert_eq!(Command::parse(text.as_bytes()), Err(expected), "{text}");
        assert_eq!(errno_of(text.as_bytes()), Errno::ERANGE);
    }
}

#[test]
fn h04_copen_carries_the_validator() {
    let answer = |validator: &[u8]| {
        Ok(copen(
            1,
            Ok(OpenAnswer {
                size: 5,
                validator: Some(validator.to_vec()),
            }),
        ))
    };
    assert_eq!(
        Command::parse(b"copen 1,5 validator=00ff2c0a"),
        answer(b"\x00\xff,\n")
    );
    assert_eq!(Command::parse(b"copen 1,5 validator="), answer(b""));
    let longest = copen(
        u32::MAX,
        Ok(OpenAnswer {
            size: i64::MAX as u64,
            validator: Some(vec![0xab; VALIDATOR_BYTES_MAX]),
        }),
    );
    assert_eq!(Command::parse(&longest.encode()), Ok(longest));
    let longer = copen(
        1,
        Ok(OpenAnswer {
            size: 5,
            validator: Some(vec![0xab; VALIDATOR_BYTES_MAX + 1]),
        }),
    );
    assert_eq!(errno_of(&longer.encode()), Errno::EINVAL);
}

#[test]
fn commands_of_the_on_demand_mode_say_so() {
    for text in [&b"copen 1,5"[..], b"restore", b"credit 1"] {
        assert!(Command::parse(text).unwrap().needs_on_demand());
    }
    for text in [&b"copen"[..], b"copen 1,x", b"credit"] {
        assert!(Command::parse(text).unwrap_err().needs_on_demand());
    }
    assert!(!Command::parse(b"bind").unwrap().needs_on_demand());
    assert!(!Command::parse(b"dir").unwrap_err().needs_on_demand());
}

#[test]
fn commands_show_as_printable_text() {
    let tag = Command::Tag(Argument::new(b"a\xff b").unwrap());
    assert_eq!(tag.to_string(), "tag a\\xff b");
    assert_eq!(tag.encode(), b"tag a\xff b");
    assert_eq!(copen(7, Err(Errno::ESTALE)).to_string(), "copen 7,-116");
}

#[test]
fn lease_commands() {
    let cread = |id, answer| {
        Ok(LeaseCommand::Cread {
            msg_id: MessageId(id),
            answer,
        })
    };
    assert_eq!(LeaseCommand::parse(b"cread 5"), cread(5, Ok(())));
    assert_eq!(
        LeaseCommand::parse(b"cread 4294967295\n"),
        cread(u32::MAX, Ok(()))
    );
    assert_eq!(
        LeaseCommand::parse(b"cread 5,-116"),
        cread(5, Err(Errno::ESTALE))
    );
    let range = ByteRange::new(4096, 100).unwrap();
    assert_eq!(
        LeaseCommand::parse(b"present 4096,100"),
        Ok(LeaseCommand::Present(range))
    );
}

#[test]
fn malformed_lease_commands_are_refused() {
    let invalid = [
        "cread",
        "cread ",
        "cread x",
        "cread -1",
        "cread +1",
        "cread 0x1",
        "cread 1 ",
        "cread 4294967296",
        "cread 5,",
        "cread 5,116",
        "cread 5,0",
        "cread 5,-0",
        "cread 5,-4096",
        "cread 5,-116,1",
        "cread 5,--116",
        "cread ,-5",
        "present",
        "present 0",
        "present 0,",
        "present ,1",
        "present 0,0",
        "present 1,4096",
        "present 4095,1",
        "present -4096,4096",
        "present 0,-1",
        "present 0,1,2",
        "present 0, 1",
        "present 9223372036854771712,4096",
        "present 18446744073709547520,4096",
    ];
    for text in invalid {
        let error = LeaseCommand::parse(text.as_bytes()).expect_err(text);
        assert_eq!(error.errno(), Errno::EINVAL, "{text}");
    }
    for text in [
        "cread 99999999999999999999",
        "present 99999999999999999999,1",
        "present 0,18446744073709551616",
    ] {
        let error = LeaseCommand::parse(text.as_bytes()).expect_err(text);
        assert_eq!(error.errno(), Errno::ERANGE, "{text}");
    }
    for text in ["", " cread 1", "copen 1,2", "Cread 1", "restore"] {
        let error = LeaseCommand::parse(text.as_bytes()).expect_err(text);
        assert_eq!(error.errno(), Errno::EOPNOTSUPP, "{text}");
    }
    assert_eq!(
        LeaseCommand::parse(b"cread 5,x"),
        Err(LeaseCommandError::CreadErrno(MessageId(5)))
    );
    assert_eq!(
        LeaseCommand::parse(b"cread 5\0"),
        Err(LeaseCommandError::Text(TextError::Nul))
    );
}

fn any_errno() -> impl Strategy<Value = Errno> {
    (1..=Errno::MAX).prop_map(|number| Errno::new(number).unwrap())
}

fn any_argument() -> impl Strategy<Value = Argument> {
    prop::collection::vec(1..=255_u8, 1..60)
        .prop_filter_map("an argument", |bytes| Argument::new(&bytes))
}

fn any_command() -> impl Strategy<Value = Command> {
    let validator = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    let size = (0..=i64::MAX as u64, validator)
        .prop_map(|(size, validator)| Ok(OpenAnswer { size, validator }));
    let answer = prop_oneof![size, any_errno().prop_map(Err)];
    let name =
        any_argument().prop_filter_map("a name", |argument| CullName::new(argument.as_bytes()));
    prop_oneof![
        Just(Command::Bind(BindMode::Cache)),
        Just(Command::Bind(BindMode::OnDemand)),
        (any::<u32>(), answer).prop_map(|(id, answer)| copen(id, answer)),
        any::<NonZeroU32>().prop_map(Command::Credit),
        name.prop_map(Command::Cull),
        any_argument().prop_map(Command::Dir),
        any_argument().prop_map(Command::SecurityContext),
        (prop::sample::select(Limit::ALL.to_vec()), 0..100_u8)
            .prop_map(|(limit, percent)| Command::Limit { limit, percent }),
        any::<u64>().prop_map(Command::Debug),
    ]
}

proptest! {
    #[test]
    fn commands_come_back(command in any_command()) {
        prop_assert_eq!(Command::parse(&command.encode()), Ok(command));
    }

    #[test]
    fn lease_commands_come_back(id: u32, errno in prop::option::of(any_errno()), block in 0..1_u64 << 50, len in 1..1_u64 << 60) {
        let cread = LeaseCommand::Cread { msg_id: MessageId(id), answer: errno.map_or(Ok(()), Err) };
        prop_assert_eq!(LeaseCommand::parse(cread.to_string().as_bytes()), Ok(cread));
        let present = LeaseCommand::Present(ByteRange::new(block * 4096, len).unwrap());
        prop_assert_eq!(LeaseCommand::parse(present.to_string().as_bytes()), Ok(present));
    }

    /// Whatever a stranger writes is refused, or means what its own encoding means.
    #[test]
    fn hostile_texts_are_refused_or_canonical(
        word in prop::sample::select(vec!["copen", "bind", "credit", "debug", "cull", "dir", "brun", "cread", "present", ""]),
        rest in prop::collection::vec(prop_oneof![prop::sample::select(b" \t\n\0,+-0123456789xX%/validator=ff\xa0".to_vec()), any::<u8>()], 0..40),
    ) {
        let text = [word.as_bytes(), b" ", &rest].concat();
        if let Ok(command) = Command::parse(&text) {
            prop_assert_eq!(Command::parse(&command.encode()), Ok(command));
        }
        if let Ok(command) = LeaseCommand::parse(&text) {
            prop_assert_eq!(LeaseCommand::parse(command.to_string().as_bytes()), Ok(command));
        }
    }
}
