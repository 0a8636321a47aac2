-- The blog's tables. The migrator has made the schema already: its own table of migrations lies in it.

create table blog.authors (
    id bigint generated always as identity primary key,
    -- What URLs and cache tags are made of; it never changes, so no cached post shows an outdated one.
    name text not null constraint authors_name_key unique,
    display_name text not null,
    bio text not null default '',
    joined_at timestamptz not null default now(),
    constraint authors_name_check check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$')
);

create table blog.posts (
    -- 'always': the id of a deleted post never comes back. A cached version 7 of post 42 can therefore only be
    -- older than version 8 of post 42, never a different post's.
    id bigint generated always as identity primary key,
    author_id bigint not null constraint posts_author_id_fkey references blog.authors (id),
    title text not null,
    body text not null,
    tags text[] not null default '{}',
    views bigint not null default 0,
    comment_count int not null default 0,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint posts_title_check check (char_length(title) between 1 and 200),
    constraint posts_body_check check (octet_length(body) <= 65536),
    constraint posts_tags_check check (cardinality(tags) <= 10),
    constraint posts_counts_check check (views >= 0 and comment_count >= 0)
);

-- The pages of one author, newest first.
create index posts_author_id_id_idx on blog.posts (author_id, id desc);

-- Which posts carry a tag: posts.tags turned around. Nobody but the triggers below (and a bulk load) writes it.
create table blog.post_tags (
    tag text not null,
    post_id bigint not null constraint post_tags_post_id_fkey references blog.posts (id) on delete cascade,
    primary key (tag, post_id)
);

-- For the cascade: the primary key begins with the tag.
create index post_tags_post_id_idx on blog.post_tags (post_id);

create table blog.comments (
    id bigint generated always as identity primary key,
    post_id bigint not null constraint comments_post_id_fkey references blog.posts (id) on delete cascade,
    author text not null,
    body text not null,
    created_at timestamptz not null default now(),
    constraint comments_author_check check (char_length(author) between 1 and 100),
    constraint comments_body_check check (octet_length(body) between 1 and 16384)
);

create index comments_post_id_id_idx on blog.comments (post_id, id);
